"""When does a latent appear, peak, turn and vanish? Lives, directions and populations along every series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.results import Result

if TYPE_CHECKING:
    from ontogeny.latents.accumulators import Accumulator


def ride(inputs: AnalysisInputs, config: EvolutionConfig) -> Accumulator:
    """What goes along on the pass; AnalysisError where there is nothing to follow."""
    from ontogeny.analyses.evolution.activity import make_rider
    from ontogeny.analyses.evolution.series import plan_series

    plan_series(inputs.sources)
    return make_rider(inputs.dictionary, config)


def run(inputs: AnalysisInputs, config: EvolutionConfig) -> Result:
    """Follow every latent along every series."""
    from ontogeny.analyses.evolution.report import make_result

    return make_result(inputs, config)


EVOLUTION = Analysis(
    "evolution",
    EvolutionConfig,
    frozenset({"dictionary", "held_out", "series", "codes"}),
    run,
    ride=ride,
    refers=lambda config: config.seeds,
)
