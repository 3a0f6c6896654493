"""Is a latent found again with another seed, size or loss, and is it one latent or two? With null controls."""

from __future__ import annotations

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.stability.config import StabilityConfig
from ontogeny.results import Result


def run(inputs: AnalysisInputs, config: StabilityConfig) -> Result:
    """Twins inside the dictionary, matches in the others, and what share of each class survives."""
    from ontogeny.analyses.stability.report import make_result

    return make_result(inputs, config)


def refers(config: StabilityConfig) -> list[str]:
    """The dictionaries to open."""
    return list(dict.fromkeys([*config.others, *([config.shuffled] if config.shuffled is not None else [])]))


STABILITY = Analysis("stability", StabilityConfig, frozenset({"dictionary", "held_out", "codes"}), run, refers=refers)
