"""What does a latent mean? Tokens it promotes, tokens it is on, how far back it looks, how complex it is."""

from __future__ import annotations

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.meaning.config import MeaningConfig
from ontogeny.results import Result


def run(inputs: AnalysisInputs, config: MeaningConfig) -> Result:
    """Ask every snapshot once, then go through the code cache by blocks of latents."""
    from ontogeny.analyses.meaning.report import make_result

    return make_result(inputs, config)


MEANING = Analysis("meaning", MeaningConfig, frozenset({"dictionary", "held_out", "series", "codes"}), run)
