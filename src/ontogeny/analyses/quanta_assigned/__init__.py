"""Which quanta do the other tokens rest on? Up to millions of them, put to the clusters by their gradients."""

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.quanta_assigned.config import QuantaAssignedConfig
from ontogeny.results import Result

__all__ = ["QUANTA_ASSIGNED", "QuantaAssignedConfig"]


def run(inputs: AnalysisInputs, config: QuantaAssignedConfig) -> Result:
    """The quantum of every new token, how often that is right, and the quanta's shares and losses in the text."""
    from ontogeny.analyses.quanta_assigned.report import make_result

    return make_result(inputs, config)


QUANTA_ASSIGNED = Analysis("quanta_assigned", QuantaAssignedConfig, frozenset({"losses", "quanta"}), run)
