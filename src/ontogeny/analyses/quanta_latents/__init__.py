"""Which latents are on where a quantum's tokens are predicted, and do both emerge together?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.quanta_latents.config import QuantaLatentsConfig
from ontogeny.results import Result

if TYPE_CHECKING:
    from ontogeny.latents.accumulators import Accumulator


def ride(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> Accumulator:
    """What the strength of latents takes along on the pass."""
    from ontogeny.analyses.quanta_latents.times import make_rider

    return make_rider(inputs, config)


def run(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> Result:
    """Enrichment of every latent on every quantum's tokens, and the times of those that belong together."""
    from ontogeny.analyses.quanta_latents.report import make_result

    return make_result(inputs, config)


QUANTA_LATENTS = Analysis(
    "quanta_latents",
    QuantaLatentsConfig,
    frozenset({"dictionary", "held_out", "codes", "losses", "quanta"}),
    run,
    ride=ride,
)
