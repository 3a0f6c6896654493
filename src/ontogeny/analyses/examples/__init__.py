"""On which tokens is each latent on? Its strongest, some of its whole range, some where it is silent, in context."""

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.examples.config import ExamplesConfig
from ontogeny.results import Result

__all__ = ["EXAMPLES", "ExamplesConfig"]


def run(inputs: AnalysisInputs, config: ExamplesConfig) -> Result:
    """Examples of every latent that fires, and what each source says on their tokens."""
    from ontogeny.analyses.examples.make import make_examples

    return make_examples(inputs, config)


EXAMPLES = Analysis("examples", ExamplesConfig, frozenset({"dictionary", "held_out", "series", "codes"}), run)
