"""What does a language model take a latent for, and how well can it tell by that when the latent is on? Optional."""

from __future__ import annotations

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.explanations.config import ExplanationsConfig
from ontogeny.results import Result


def run(inputs: AnalysisInputs, config: ExplanationsConfig) -> Result:
    """Ask the endpoint for explanations and complexities, then for detection and fuzzing."""
    from ontogeny.analyses.explanations.report import make_result

    return make_result(inputs, config)


EXPLANATIONS = Analysis(
    "explanations", ExplanationsConfig, frozenset({"dictionary", "held_out", "series", "codes"}), run
)
