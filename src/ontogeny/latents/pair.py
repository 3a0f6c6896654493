"""Two sources that are compared, a base and a chat model or any earlier and later one; whose a latent is by norm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.scaling import N_BLOCKS, Probes, ScalingAccumulator, bytes_of
from ontogeny.types import Source

CLASSES = ("chat-only", "base-only", "shared", "other", "dead")
CHAT_ONLY, BASE_ONLY, SHARED, OTHER, DEAD = range(5)


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

    def scaling(self, dictionary: Crosscoder, probes: Probes, budget: int = 2 * 10**9) -> ScalingAccumulator:
        """Sums of latent scaling of all latents with base and chat as targets 0 and 1, in at most `budget` bytes.

        Where more than some 800,000 latents need it, documents go into fewer blocks. AnalysisError as in
        `check_scales`.
        """
        check_scales(dictionary)
        n_blocks = budget // (dictionary.n_latents * bytes_of(2, len(probes.sources)))
        return ScalingAccumulator(
            dictionary, probes, n_blocks=min(max(n_blocks, 2), N_BLOCKS), targets=(self.base, self.chat)
        )


def choose_pair(
    names: Sequence[str], sources: Sequence[Source], analysis: str, base: str | None = None, chat: str | None = None
) -> Pair:
    """The pair named out of the sources that a dictionary writes; without names the first, and the last like it.

    AnalysisError where there is no such pair, in words of the recipe table of `analysis`.
    """
    if len(names) < 2:
        raise AnalysisError(
            f"{analysis} compares two sources, and this dictionary has one ({names[0]}); train it over both models "
            f"([series] base = ..., chat = ...), or leave [analyses.{analysis}] out."
        )
    for key, wanted in (("base", base), ("chat", chat)):
        if wanted is not None and wanted not in names:
            raise AnalysisError(
                f"analyses.{analysis}.{key} = {wanted!r} is no source of this dictionary; take one of "
                f"{', '.join(names)}."
            )
    first = 0 if base is None else names.index(base)
    alike = [place for place, source in enumerate(sources) if source.hook_point == sources[first].hook_point]
    last = alike[-1] if chat is None else names.index(chat)
    if first == last or last not in alike:
        raise AnalysisError(
            f"{analysis} cannot compare {names[first]} with {names[last]}: it needs two snapshots at one hook point; "
            f"set analyses.{analysis}.base and .chat."
        )
    return Pair(first, last, sources[first], sources[last])


def check_scales(dictionary: Crosscoder) -> None:
    """AnalysisError where different scales are folded into the sources' weights.

    A nu compares sources in normalised space, and what is raw in each would come out larger where activations are.
    """
    lengths = torch.linalg.vector_norm(dictionary.W_dec.detach().float(), dim=2)
    kept = dictionary.decoder_norms().detach().float()
    scales = torch.where(lengths > 0, kept / lengths, torch.nan).nanmedian(dim=0).values
    known = scales[scales.isfinite()]
    if len(known) and float(known.max()) > 1.001 * float(known.min()):
        raise AnalysisError(
            "latent scaling compares sources in normalised space, and this dictionary's scales are folded into its "
            "weights; give the dictionary as it was before folding."
        )


def compute_delta(norms: Float[np.ndarray, "latent 2"]) -> Float[np.ndarray, " latent"]:
    """((chat - base) / larger + 1) / 2 of decoder norms (base, chat): 1 = chat only, 0 = base only; NaN of 0 and 0."""
    larger = norms.max(1)
    return ((norms[:, 1] - norms[:, 0]) / np.where(larger > 0, larger, np.nan) + 1) / 2


def classify(
    delta: Float[np.ndarray, " latent"], n_active: Int[np.ndarray, " latent"], margin: float
) -> Int[np.ndarray, " latent"]:
    """Places in CLASSES: chat-only > 1 - margin, base-only < margin, shared within margin of 0.5.

    Latents that never fire, or have no norm, are dead. Source: Minder et al. 2025, with margin 0.1.
    """
    kind = np.full(len(delta), OTHER)
    kind[np.abs(delta - 0.5) < margin] = SHARED
    kind[delta > 1 - margin] = CHAT_ONLY
    kind[delta < margin] = BASE_ONLY
    kind[(n_active == 0) | np.isnan(delta)] = DEAD
    return kind
