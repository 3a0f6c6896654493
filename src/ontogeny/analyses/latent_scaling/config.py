"""What latent scaling looks along, and what it takes for absent."""

from typing import Annotated

from pydantic import Field

from ontogeny.config import Config, Immaterial


class LatentScalingConfig(Config):
    """Is a latent really not there in a snapshot? How much of its direction every source holds, for all latents."""

    probe: str = "peak"
    """Whose decoder to look along: peak (where the latent's norm is largest), a source's name, or all (K x K pairs)."""
    absent_norm: float = Field(0.2, gt=0, lt=1)
    """By decoder norm a latent is absent from a source where its norm is at most this share of its norm at the probe;
    0.2 is a relative norm difference of 0.9."""
    absent_error: float = Field(0.2, gt=0)
    """By latent scaling it is absent where nu_error is below this."""
    absent_reconstruction: float = Field(0.5, gt=0)
    """Its contribution is not decoupled where nu_reconstruction is below this."""
    false_discoveries: float = Field(0.05, gt=0, lt=1)
    """Share of false discoveries allowed among the verdicts (Benjamini and Hochberg over all latents and sources)."""
    min_tokens: int = Field(10, ge=1)
    """Held-out tokens that a latent must fire on; rarer ones get null."""
    control_latents: int = Field(256, ge=0)
    """Latents that the null controls look at, the first ones: random directions, and norm-matched other latents."""
    seed: int = 0
    """Seed of the random directions."""
    memory_gb: Annotated[float, Immaterial] = Field(2.0, gt=0)
    """Gigabytes for the sums at a time; what does not fit goes over the cached codes again, by blocks of latents."""
