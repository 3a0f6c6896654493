"""What a run says about training: one file an analysis, one line here each.

To add one, write `analyses/<name>.py` with a `Config`, a `run(inputs, config) -> Result` and an `Analysis` that holds
both, and give it a line in `ANALYSES`; the recipe table `[analyses.<name>]`, `ontogeny analyze`, storage and `show`
follow from that. Modules here import torch only inside functions, since every recipe is parsed with this registry.
"""

from ontogeny.analyses.ablation import ABLATION
from ontogeny.analyses.base_chat import BASE_CHAT
from ontogeny.analyses.behaviours import BEHAVIOURS
from ontogeny.analyses.circuits import CIRCUITS
from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.analyses.evolution import EVOLUTION
from ontogeny.analyses.examples import EXAMPLES
from ontogeny.analyses.explanations import EXPLANATIONS
from ontogeny.analyses.indirect_effects import INDIRECT_EFFECTS
from ontogeny.analyses.latent_scaling import LATENT_SCALING
from ontogeny.analyses.lifetimes import LIFETIMES
from ontogeny.analyses.lm_eval import LM_EVAL
from ontogeny.analyses.loss_curves import LOSS_CURVES
from ontogeny.analyses.meaning import MEANING
from ontogeny.analyses.ngrams import NGRAMS
from ontogeny.analyses.patched_kl import PATCHED_KL
from ontogeny.analyses.quanta import QUANTA
from ontogeny.analyses.quanta_assigned import QUANTA_ASSIGNED
from ontogeny.analyses.quanta_latents import QUANTA_LATENTS
from ontogeny.analyses.stability import STABILITY
from ontogeny.analyses.statistics import STATISTICS

ANALYSES: dict[str, Analysis] = {
    each.name: each
    for each in (
        LIFETIMES,
        STATISTICS,
        EXAMPLES,
        EVOLUTION,
        NGRAMS,
        LATENT_SCALING,
        MEANING,
        EXPLANATIONS,
        STABILITY,
        BASE_CHAT,
        PATCHED_KL,
        BEHAVIOURS,
        LM_EVAL,
        INDIRECT_EFFECTS,
        CIRCUITS,
        LOSS_CURVES,
        QUANTA,
        QUANTA_ASSIGNED,
        QUANTA_LATENTS,
        ABLATION,
    )
}

__all__ = ["ANALYSES", "Analysis", "AnalysisInputs"]
