"""What of the evolution of latents is asked."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Added, Config
from ontogeny.latents.trajectories import LifeThresholds

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class EvolutionConfig(Config):
    """When latents appear, peak, turn and vanish along the series."""

    strength: Literal["norm", "scaling", "prediction"] = "norm"
    """What lives are read off: the decoder norm, how much of the latent each snapshot holds (latent scaling), or how
    well each snapshot predicts what follows where the latent fires."""
    sure: Annotated[float, Field(ge=0), Added] = 2.0
    """Standard errors by which a snapshot must predict better than the bigram, lest its strength be 0 (prediction)."""
    thresholds: LifeThresholds = LifeThresholds()
    """What counts as live, as staying, as early and as late."""
    min_active: Count = 10
    """Held-out tokens a latent must fire on to have a life: the decoders of one that never fires say nothing."""
    seeds: tuple[str, ...] = ()
    """Names or ids of dictionaries that differ in their seed only: intervals come from latents matched in them."""
    min_match: Share = 0.7
    """Cosine of the concatenated decoders from which on a latent counts as found again in another seed."""
    permutations: Annotated[int, Field(ge=0)] = 99
    """Random orders of the snapshots that each latent's turning point is compared with."""
    turning_level: Share = 0.05
    """Share of false ones among the turning points that the counts allow (Benjamini-Hochberg)."""
    direction_latents: Annotated[int, Field(ge=0)] = 50_000
    """Latents, those that fire on most tokens, whose cosines between all pairs of snapshots are written."""
    seed: int = 0
    """Seed of the random controls."""
