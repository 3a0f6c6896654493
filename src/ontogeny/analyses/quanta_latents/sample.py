"""The clustered tokens that the code cache holds, and the latents enriched on each quantum of them.

The activation at position p goes with the prediction of p + 1: a predicted token is looked up at the token before it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta_latents.config import QuantaLatentsConfig
from ontogeny.errors import AnalysisError
from ontogeny.latents.enrichment import Enrichment, TokenGroups, compute_enrichment, find_tokens


@dataclass(frozen=True)
class HeldOutQuanta:
    """`labels`, `documents` of all clustered tokens; `place` [token]: token of the pass before it, −1 where none is.

    `asked` [quantum]: whether enough of its tokens are there; `enriched`: pairs that are called, by quantum, then p;
    `shuffled`: how many are called for each quantum when labels are shuffled among the tokens.
    """

    labels: Int[np.ndarray, " token"]
    documents: Int[np.ndarray, " token"]
    place: Int[np.ndarray, " token"]
    asked: Bool[np.ndarray, " quantum"]
    enriched: Enrichment
    shuffled: Int[np.ndarray, " quantum"]

    @property
    def n_quanta(self) -> int:
        """Quanta, with those that are not asked."""
        return len(self.asked)

    @property
    def covered(self) -> Int[np.ndarray, " covered"]:
        """Places of the tokens that are looked at: those of quanta that are asked, as far as they are in the pass."""
        return np.flatnonzero((self.place >= 0) & self.asked[self.labels])

    @classmethod
    def of(cls, inputs: AnalysisInputs, config: QuantaLatentsConfig) -> "HeldOutQuanta":
        """Look up the tokens, and test all latents. AnalysisError if fewer than two quanta have enough tokens."""
        assert inputs.quanta is not None and inputs.codes is not None
        clusters = inputs.quanta
        labels = clusters.labels[clusters.last]
        place = locate_before(inputs)
        counts = np.bincount(labels[place >= 0], minlength=int(labels.max()) + 1)
        asked = counts >= config.min_tokens
        if asked.sum() < 2:
            raise AnalysisError(
                f"{int((place >= 0).sum())} of {len(place)} clustered tokens are in the held-out text, and "
                f"{int(asked.sum())} quanta have {config.min_tokens} of them, where two are needed; set losses.split "
                '= "held_out", ask for more tokens or fewer clusters, or lower analyses.quanta_latents.min_tokens.'
            )
        there = (place >= 0) & asked[labels]
        enriched = _call(inputs, config, place[there], labels[there], clusters.documents[there], len(asked))
        draw = np.random.default_rng(config.seed)
        mixed = draw.permutation(labels[there])
        shuffled = _call(inputs, config, place[there], mixed, clusters.documents[there], len(asked))
        return cls(
            labels, clusters.documents, place, asked, enriched, np.bincount(shuffled.group, minlength=len(asked))
        )


def locate_before(inputs: AnalysisInputs) -> Int[np.ndarray, " token"]:
    """The token of the pass before each clustered token, in its document; −1 where the pass has none."""
    assert inputs.quanta is not None and inputs.codes is not None and inputs.losses is not None
    document, position = inputs.losses.documents.locate(inputs.quanta.tokens)
    columns = inputs.codes.columns
    near = np.flatnonzero(np.isin(columns.document, np.unique(document)))
    row, column = np.asarray(columns.row)[near], np.asarray(columns.position)[near]
    here = np.asarray(inputs.corpus.position)[row, column]
    found = find_tokens(np.asarray(columns.document)[near], here, document, position - 1)
    return np.where(found >= 0, near[found], -1) if len(near) else np.full(len(document), -1)


def _call(
    inputs: AnalysisInputs,
    config: QuantaLatentsConfig,
    place: Int[np.ndarray, " covered"],
    labels: Int[np.ndarray, " covered"],
    documents: Int[np.ndarray, " covered"],
    n_quanta: int,
) -> Enrichment:
    """The pairs with q up to the level, by quantum, then p, then odds."""
    assert inputs.codes is not None
    found = compute_enrichment(inputs.codes.iter_blocks(), TokenGroups(place, labels, documents, n_quanta))
    called = np.flatnonzero(found.q <= config.level)
    order = np.lexsort((-found.log_odds[called], found.p[called], found.group[called]))
    return found.take(called[order])
