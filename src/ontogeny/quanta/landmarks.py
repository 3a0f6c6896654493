"""Clustered tokens as landmarks for others: the rules that put tokens to them, and how often those are right."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.errors import AnalysisError
from ontogeny.quanta.affinity import compute_angular_affinity, compute_regularised_affinity
from ontogeny.quanta.assignment import Assignment, EmbeddingScores, MeanCosines, Scores
from ontogeny.quanta.clustering import embed_affinity
from ontogeny.quanta.sections_config import QuantaConfig

Rule = Literal["mean", "embedding"]
"""Highest mean cosine with a cluster's landmarks, or nearest mean in the landmarks' spectral embedding (Nyström)."""


def make_scores(
    rule: Rule,
    similarity: Float[np.ndarray, "landmark landmark"],
    labels: Int[np.ndarray, " landmark"],
    config: QuantaConfig,
) -> Scores:
    """A rule made from landmarks, with the affinity that they were clustered by; `labels` from 0, without gaps.

    AnalysisError for an embedding of average linkage, which has none.
    """
    if rule == "mean":
        return MeanCosines(labels)
    if config.method == "linkage":
        raise AnalysisError(
            'rule = "embedding" needs spectral clusters and quanta.method is "linkage"; assign by "mean" instead.'
        )
    if config.method == "angular":
        return EmbeddingScores(
            embed_affinity(compute_angular_affinity(similarity), int(labels.max()) + 1),
            labels,
            compute_angular_affinity,
        )
    clean = compute_regularised_affinity(similarity, 0.0)
    level = float(config.background * clean.mean())
    embedding = embed_affinity(clean + level, int(labels.max()) + 1)
    return EmbeddingScores(embedding, labels, partial(_regularised, level=level))


def _regularised(similarity: Float[np.ndarray, "token landmark"], level: float) -> Float[np.ndarray, "token landmark"]:
    return np.asarray(compute_regularised_affinity(similarity, 0.0) + level)


@dataclass(frozen=True)
class HeldOut:
    """Landmarks put back by others alone: the cluster found for each, its score and margin, beside its own.

    `cosines`: mean cosine of each with the landmarks of every cluster in other folds, NaN where there are none.
    """

    own: Int[np.ndarray, " landmark"]
    found: Assignment
    cosines: Float[np.ndarray, "landmark cluster"]

    @property
    def right(self) -> Bool[np.ndarray, " landmark"]:
        """Whether each came back to its own cluster."""
        return np.asarray(self.found.labels == self.own)

    def fit_bounds(self, min_cosine: float | None, min_margin: float | None, keep: float, precision: float) -> "Bounds":
        """What is not given: of each cluster the cosine that a share `keep` of those that came back to it reach, and
        no more than 1 − `keep` of the others: a cluster that hangs together by little takes few. Then the lowest
        margin from which on a share `precision` of the landmarks is right. Infinite where there is none.
        """
        found, margins = self.found, self.found.margins
        cosine = np.full(int(self.own.max()) + 1, np.inf if min_cosine is None else min_cosine)
        if min_cosine is None:
            for cluster in np.unique(self.own[self.right]):
                there = found.cosines[self.right & (self.own == cluster)]
                strange = self.cosines[self.own != cluster, cluster]
                strange = strange[np.isfinite(strange)]
                cosine[cluster] = max(
                    np.quantile(there, 1 - keep, method="lower"),
                    np.quantile(strange, keep) if len(strange) else -np.inf,
                )
        if min_margin is None:
            near = np.flatnonzero(found.cosines >= cosine[found.labels])
            order = near[np.argsort(-margins[near], kind="stable")]
            shares = np.cumsum(self.right[order]) / np.arange(1, len(order) + 1)
            good = np.flatnonzero(shares >= precision)
            min_margin = float(margins[order[good[-1]]]) if len(good) else np.inf
        return Bounds(cosine, min_margin)


@dataclass(frozen=True)
class Bounds:
    """What a token's mean cosine with its cluster, and its margin, must reach for it to be assigned."""

    cosine: Float[np.ndarray, " cluster"]
    margin: float

    def passed(self, found: Assignment) -> Bool[np.ndarray, " token"]:
        """Which tokens reach both."""
        return np.asarray((found.cosines >= self.cosine[found.labels]) & (found.margins >= self.margin))


def hold_out(
    rule: Rule,
    similarity: Float[np.ndarray, "landmark landmark"],
    labels: Int[np.ndarray, " landmark"],
    groups: Int[np.ndarray, " landmark"],
    config: QuantaConfig,
    n_folds: int = 5,
    seed: int = 0,
) -> HeldOut:
    """Put every landmark to the clusters by the landmarks of other folds alone; a group (a document) is in one fold.

    A landmark whose cluster has no member in other folds cannot come back, and counts as wrong.
    AnalysisError with fewer than two groups, or fewer clusters than two in some fold's others.
    """
    known_groups, numbered = np.unique(groups, return_inverse=True)
    n_groups = len(known_groups)
    if n_groups < 2:
        raise AnalysisError("all landmarks lie in one document, so that none can be held out; choose tokens of more.")
    n_folds = min(n_folds, n_groups)
    fold = np.random.default_rng(seed).permutation(n_groups)[numbered] % n_folds
    found = np.zeros(len(labels), dtype=np.int64)
    scores, margins, nearest = np.zeros((3, len(labels)))
    cosines = np.full((len(labels), int(labels.max()) + 1), np.nan)
    for each in range(n_folds):
        inside, others = np.flatnonzero(fold == each), np.flatnonzero(fold != each)
        known, own = np.unique(labels[others], return_inverse=True)
        if len(known) < 2 or len(known) >= len(others):
            raise AnalysisError(
                f"the {len(others)} landmarks outside one fold of documents have {len(known)} clusters; choose more "
                "tokens, of more documents."
            )
        make = make_scores(rule, similarity[np.ix_(others, others)], own, config)
        across = similarity[np.ix_(inside, others)]
        back = Assignment.of(inside, make, across)
        found[inside], scores[inside] = known[back.labels], back.scores
        margins[inside], nearest[inside] = back.margins, back.cosines
        cosines[np.ix_(inside, known)] = make.cosines(across)
    return HeldOut(labels, Assignment(np.arange(len(labels)), found, scores, margins, nearest), cosines)
