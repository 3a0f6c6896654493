"""Which latents are on where a quantum's tokens are predicted, and do both emerge together?"""

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.quanta_latents.config import QuantaLatentsConfig
from ontogeny.results import Result


def run(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> Result:
    """Enrichment of every latent on every quantum's tokens, and the times of those that belong together."""
    from ontogeny.analyses.quanta_latents.report import make_result

    return make_result(inputs, config)


QUANTA_LATENTS = Analysis(
    "quanta_latents",
    QuantaLatentsConfig,
    frozenset({"dictionary", "held_out", "codes", "losses", "quanta"}),
    run,
)
