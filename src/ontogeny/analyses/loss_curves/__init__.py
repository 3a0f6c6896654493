"""How do losses of single tokens fall? Power laws, densities, sudden and gradual tokens, what is kept and forgotten."""

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.loss_curves.config import LossCurvesConfig
from ontogeny.results import Result

__all__ = ["LOSS_CURVES", "LossCurvesConfig"]


def run(inputs: AnalysisInputs, config: LossCurvesConfig) -> Result:
    """Go once over the losses of all predicted tokens, then look at some of them one by one."""
    from ontogeny.analyses.loss_curves.report import make_result

    return make_result(inputs, config)


# The clusters have no part in the numbers: they only name tokens to be looked at.
LOSS_CURVES = Analysis("loss_curves", LossCurvesConfig, frozenset({"losses"}), run, wants=frozenset({"quanta"}))
