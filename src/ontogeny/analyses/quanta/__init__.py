"""Which skills does the loss hold, when was each learned, what were they before? Clusters of tokens over snapshots."""

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.quanta.config import QuantaReportConfig
from ontogeny.results import Result

__all__ = ["QUANTA", "QuantaReportConfig"]


def run(inputs: AnalysisInputs, config: QuantaReportConfig) -> Result:
    """Loss curves, emergence, cohesion, stability, neighbours and lineage of the clusters of the last snapshot."""
    from ontogeny.analyses.quanta.report import make_result

    return make_result(inputs, config)


QUANTA = Analysis("quanta", QuantaReportConfig, frozenset({"losses", "quanta"}), run)
