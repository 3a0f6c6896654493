"""Which two sources are compared."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ontogeny.analyses.base_chat.config import BaseChatConfig
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.scaling import Probes
from ontogeny.types import Source


@dataclass(frozen=True)
class Pair:
    """Base and chat: their places among the sources that the dictionary writes, and the sources themselves."""

    base: int
    chat: int
    base_source: Source
    chat_source: Source

    def norms(self, dictionary: Crosscoder) -> Float[np.ndarray, "latent 2"]:
        """Decoder norms in normalised space: base, chat."""
        norms: np.ndarray = dictionary.decoder_norms().detach().double().cpu().numpy()
        return norms[:, [self.base, self.chat]]

    def probes(self, dictionary: Crosscoder) -> Probes:
        """Every latent's decoder in the model where it is larger, the chat model's where they are equal."""
        norms = self.norms(dictionary)
        return Probes.of_sources(dictionary, np.where(norms[:, 0] > norms[:, 1], self.base, self.chat)[None])


def choose_pair(inputs: AnalysisInputs, config: BaseChatConfig) -> Pair:
    """The pair that the config names; AnalysisError where there is none."""
    names, sources = inputs.dictionary.sources_out, inputs.sources
    if len(names) < 2:
        raise AnalysisError(
            f"base_chat compares two sources, and this dictionary has one ({names[0]}); train it over both models "
            "([series] base = ..., chat = ...), or leave [analyses.base_chat] out."
        )
    for key in ("base", "chat"):
        wanted = getattr(config, key)
        if wanted is not None and wanted not in names:
            raise AnalysisError(
                f"analyses.base_chat.{key} = {wanted!r} is no source of this dictionary; take one of "
                f"{', '.join(names)}."
            )
    base = 0 if config.base is None else names.index(config.base)
    alike = [place for place, source in enumerate(sources) if source.hook_point == sources[base].hook_point]
    chat = alike[-1] if config.chat is None else names.index(config.chat)
    if base == chat or chat not in alike:
        raise AnalysisError(
            f"base_chat cannot compare {names[base]} with {names[chat]}: it needs two snapshots at one hook point; set "
            "analyses.base_chat.base and .chat."
        )
    return Pair(base, chat, sources[base], sources[chat])
