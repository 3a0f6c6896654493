"""What did fine-tuning change? Latents of one model only, and what can be said without a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ontogeny.analyses.base_chat.config import BaseChatConfig
from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.results import Result

if TYPE_CHECKING:
    from ontogeny.latents.accumulators import Accumulator

__all__ = ["BASE_CHAT", "BaseChatConfig"]


def run(inputs: AnalysisInputs, config: BaseChatConfig) -> Result:
    """Classes and survivors, template shares, divergence, mean difference and its principal components."""
    from ontogeny.analyses.base_chat.report import compare_models

    return compare_models(inputs, config)


def ride(inputs: AnalysisInputs, config: BaseChatConfig) -> Accumulator:
    """The sums of latent scaling, each latent looked for along the decoder of the model where it is larger."""
    from ontogeny.latents.pair import choose_pair

    pair = choose_pair(inputs.dictionary.sources_out, inputs.sources, "base_chat", config.base, config.chat)
    return pair.scaling(inputs.dictionary, pair.probes(inputs.dictionary))


BASE_CHAT = Analysis("base_chat", BaseChatConfig, frozenset({"dictionary", "held_out", "series", "codes"}), run, ride)
