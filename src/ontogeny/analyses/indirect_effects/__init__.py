"""What does each latent do to a behaviour, in which snapshots, and how good is the estimate?"""

from collections.abc import Sequence
from pathlib import Path

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.indirect_effects.config import IndirectEffectsConfig
from ontogeny.results import Result
from ontogeny.tokens.pairs.behaviours import check_behaviours

__all__ = ["INDIRECT_EFFECTS", "IndirectEffectsConfig"]


def run(inputs: AnalysisInputs, config: IndirectEffectsConfig) -> Result:
    """Open every snapshot once for activations and once for gradients; effects, RelIE, checks."""
    from ontogeny.analyses.indirect_effects.report import make_result

    return make_result(inputs, config)


def reads(config: IndirectEffectsConfig) -> Sequence[Path]:
    """The user's files of pairs."""
    from ontogeny.tokens.pairs.behaviours import behaviour_files

    return behaviour_files(config.behaviours)


INDIRECT_EFFECTS = Analysis(
    "indirect_effects",
    IndirectEffectsConfig,
    frozenset({"dictionary", "series"}),
    run,
    reads=reads,
    check=check_behaviours,
)
