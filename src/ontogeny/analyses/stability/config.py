"""What is compared for stability; torch-free."""

from typing import Annotated

from pydantic import Field, model_validator

from ontogeny.config import Config, Immaterial
from ontogeny.latents.trajectories import LifeThresholds

Share = Annotated[float, Field(gt=0, le=1)]


class StabilityConfig(Config):
    """Which latents are found again in other dictionaries, which have a twin in this one, and what chance gives."""

    others: tuple[str, ...] = ()
    """Names or ids of dictionaries over the same sources, trained with another seed, size or loss."""
    shuffled: str | None = None
    """Name or id of a dictionary trained with `training.shuffle_snapshots`: a null control beside the random one."""
    survives: Share = 0.7
    """A latent survives in another dictionary if its match there has at least this cosine."""
    twins: Share = 0.9
    """Latents that live in different sources are twins if their decoders have at least this cosine."""
    high: Share = 0.4
    """A twin is on strongly above this share of its largest code."""
    low: Share = 0.1
    """It counts as off up to this share of its largest code."""
    min_active: int = Field(10, ge=1)
    """Held-out tokens a latent must fire on to be counted."""
    max_tokens: int = Field(65_536, ge=1)
    """Held-out tokens on which the latents of the other dictionaries must fire to be matched."""
    thresholds: LifeThresholds = LifeThresholds()
    """What counts as live, as staying, as early and as late; lives are read off decoder norms."""
    candidates: int = Field(32, ge=1)
    """Most similar latents that a match is looked for among, where dictionaries are too large for a whole table."""
    seed: int = 0
    """Seed of the random dictionary and of the random partners."""
    batch_size: Annotated[int, Immaterial] = Field(2_048, ge=1)
    """Tokens encoded at a time."""

    @model_validator(mode="after")
    def _one_role_each(self) -> "StabilityConfig":
        if self.shuffled is not None and self.shuffled in self.others:
            raise ValueError(f"{self.shuffled!r} is named both in `others` and as `shuffled`; name it once")
        return self
