"""When does a model learn a behaviour? Accuracy and logit difference per snapshot, and which snapshots to look at."""

from collections.abc import Sequence
from pathlib import Path

from ontogeny.analyses.behaviours.config import BehavioursConfig
from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.results import Result
from ontogeny.tokens.pairs.behaviours import check_behaviours

__all__ = ["BEHAVIOURS", "BehavioursConfig"]


def run(inputs: AnalysisInputs, config: BehavioursConfig) -> Result:
    """Run every snapshot once on all pairs."""
    from ontogeny.analyses.behaviours.report import make_result

    return make_result(inputs, config)


def reads(config: BehavioursConfig) -> Sequence[Path]:
    """The user's files of pairs."""
    from ontogeny.tokens.pairs.behaviours import behaviour_files

    return behaviour_files(config.behaviours)


# The dictionary only names the hook points.
BEHAVIOURS = Analysis(
    "behaviours",
    BehavioursConfig,
    frozenset({"series"}),
    run,
    reads=reads,
    check=check_behaviours,
    wants=frozenset({"dictionary"}),
)
