"""Does a snapshot know more than how often tokens, and pairs of tokens, occur? KL from n-grams, and their bounds."""

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.ngrams.config import NgramsConfig
from ontogeny.results import Result


def run(inputs: AnalysisInputs, config: NgramsConfig) -> Result:
    """Compare every snapshot's predictions with those of unigrams and bigrams."""
    from ontogeny.analyses.ngrams.report import make_result

    return make_result(inputs, config)


# The dictionary has no part in the numbers.
NGRAMS = Analysis("ngrams", NgramsConfig, frozenset({"series"}), run, wants=frozenset({"dictionary", "held_out"}))
