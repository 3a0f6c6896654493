"""What is asked of latents and quanta together; torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Config
from ontogeny.latents.trajectories import LifeThresholds


class QuantaLatentsConfig(Config):
    """Which latents belong to which quantum, and whether both emerge together."""

    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of false ones among the pairs of latent and quantum that are called (Benjamini-Hochberg)."""
    min_tokens: Annotated[int, Field(ge=2)] = 5
    """Tokens of a quantum that must lie in the held-out text for its latents to be asked for."""
    per_quantum: Annotated[int, Field(ge=1)] = 10
    """Most latents listed of a quantum, those with the smallest p first."""
    strength: Literal["norm", "scaling"] = "scaling"
    """What a latent's times are read off: its decoder norm, or how much of it each snapshot's own activations hold."""
    thresholds: LifeThresholds = LifeThresholds()
    """What counts as onset and half-rise of a latent."""
    emergence_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A quantum emerges when this share of the fall of its mean loss, from first to last snapshot, is done."""
    draws: Annotated[int, Field(ge=2)] = 200
    """Bootstrap draws of documents, for the emergence of quanta, and of pairs, for mean differences."""
    shuffles: Annotated[int, Field(ge=1)] = 1000
    """Shuffled pairs of latent and quantum, for the null."""
    seed: int = 0
    """Of draws and shuffles."""
