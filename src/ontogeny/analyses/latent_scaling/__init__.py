"""Is a latent really absent from a snapshot, or did sparsity only shrink its decoder there?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.results import Result

if TYPE_CHECKING:
    from ontogeny.latents.accumulators import Accumulator

__all__ = ["LATENT_SCALING", "LatentScalingConfig"]


def run(inputs: AnalysisInputs, config: LatentScalingConfig) -> Result:
    """Betas, nus and verdicts of every latent in every source, the pairs of sources, and the controls."""
    from ontogeny.analyses.latent_scaling.judge import judge

    return judge(inputs, config)


def ride(inputs: AnalysisInputs, config: LatentScalingConfig) -> Accumulator:
    """The sums of the first block of latents (of all, where they fit in memory) and of the controls."""
    from ontogeny.analyses.latent_scaling.sums import first_sums

    return first_sums(inputs, config)


LATENT_SCALING = Analysis(
    "latent_scaling", LatentScalingConfig, frozenset({"dictionary", "held_out", "codes"}), run, ride
)
