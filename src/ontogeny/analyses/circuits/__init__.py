"""Which latents drive which between two hook points, and when does the circuit of a behaviour assemble?"""

from collections.abc import Sequence
from pathlib import Path

from ontogeny.analyses.circuits.config import CircuitsConfig
from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.results import Result
from ontogeny.tokens.pairs.behaviours import check_behaviours

__all__ = ["CIRCUITS", "CircuitsConfig"]


def run(inputs: AnalysisInputs, config: CircuitsConfig) -> Result:
    """Trace edges in every snapshot, prune them on one half of the clusters, run what is left on the other."""
    from ontogeny.analyses.circuits.report import make_result

    return make_result(inputs, config)


def refers(config: CircuitsConfig) -> list[str]:
    """The dictionary that edges begin in, where it is another."""
    return [] if config.upstream is None else [config.upstream]


def reads(config: CircuitsConfig) -> Sequence[Path]:
    """The user's files of pairs."""
    from ontogeny.tokens.pairs.behaviours import behaviour_files

    return behaviour_files(config.behaviours)


CIRCUITS = Analysis(
    "circuits",
    CircuitsConfig,
    frozenset({"dictionary", "series"}),
    run,
    refers=refers,
    reads=reads,
    check=check_behaviours,
)
