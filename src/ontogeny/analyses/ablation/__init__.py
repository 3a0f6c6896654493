"""How many latents does a behaviour need, and which? Sets of them ablated and kept, against controls."""

from collections.abc import Sequence
from pathlib import Path

from ontogeny.analyses.ablation.config import AblationConfig
from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.results import Result
from ontogeny.tokens.pairs.behaviours import check_behaviours

__all__ = ["ABLATION", "AblationConfig"]


def run(inputs: AnalysisInputs, config: AblationConfig) -> Result:
    """Rank latents on one half of the clusters, ablate and keep the first of them on the other."""
    from ontogeny.analyses.ablation.report import make_result

    return make_result(inputs, config)


def reads(config: AblationConfig) -> Sequence[Path]:
    """The user's files: of pairs, and of rankings."""
    from ontogeny.analyses.ablation.given import ranking_files
    from ontogeny.tokens.pairs.behaviours import behaviour_files

    return [*behaviour_files(config.behaviours), *ranking_files(config.given)]


ABLATION = Analysis(
    "ablation", AblationConfig, frozenset({"dictionary", "series"}), run, reads=reads, check=check_behaviours
)
