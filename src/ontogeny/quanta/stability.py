"""Is a cluster there again when other tokens are drawn, or at another snapshot? Jaccard with its best match.

J(A, B) = |A ∩ B| / |A ∪ B| over the tokens that both partitions label; a cluster's score is the largest over the
clusters of the other partition. Small clusters reach some by chance, so the same for shuffled labels goes with it.
Source: Hennig 2007, "Cluster-wise assessment of cluster stability".
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from ontogeny.quanta.methods import Clusterer


@dataclass(frozen=True)
class Stability:
    """Of every cluster, over draws of tokens: mean Jaccard of its best match, standard error, and chance.

    `se`: of the mean over draws (n_draws tells how many held any of its tokens); NaN with fewer than two, all NaN with
    none. `chance`: the mean with the draw's labels shuffled. `ari`: adjusted Rand index of each draw, whole partitions.
    """

    jaccard: Float[np.ndarray, " cluster"]
    se: Float[np.ndarray, " cluster"]
    chance: Float[np.ndarray, " cluster"]
    n_draws: Int[np.ndarray, " cluster"]
    ari: Float[np.ndarray, " draw"]


def bootstrap_stability(
    similarity: Float[np.ndarray, "token token"],
    labels: Int[np.ndarray, " token"],
    clusterer: Clusterer,
    n_draws: int = 20,
    groups: Shaped[np.ndarray, " token"] | None = None,
    seed: int = 0,
) -> Stability:
    """Draw groups (documents; single tokens without them) with replacement, cluster what was drawn, compare.

    A token drawn twice counts once: two copies would be each other's nearest. Each draw is cut into as many clusters
    as it holds tokens of.
    """
    draw = np.random.default_rng(seed)
    n_clusters = int(labels.max()) + 1
    unit = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units = int(unit.max()) + 1
    found, chance = np.full((2, n_draws, n_clusters), np.nan)
    ari = np.full(n_draws, np.nan)
    for number in range(n_draws):
        kept = np.flatnonzero(np.isin(unit, draw.integers(n_units, size=n_units)))
        here = labels[kept]
        count = min(len(np.unique(here)), len(kept) - 1)
        if count < 1:
            continue
        again = clusterer(similarity[np.ix_(kept, kept)], [count])[count]
        found[number] = match_clusters(here, again, n_clusters).jaccard
        chance[number] = match_clusters(here, draw.permutation(again), n_clusters).jaccard
        ari[number] = compute_ari(here, again)
    known = (~np.isnan(found)).sum(axis=0)
    mean = _mean(found, known)
    spread = np.sqrt(_mean(np.square(found - mean), known) / np.maximum(known - 1, 1))
    return Stability(mean, np.where(known > 1, spread, np.nan), _mean(chance, known), known, ari)


def _mean(values: Float[np.ndarray, "draw cluster"], known: Int[np.ndarray, " cluster"]) -> np.ndarray:
    """Over the draws that are not NaN; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known > 0, np.nansum(values, axis=0) / known, np.nan))


@dataclass(frozen=True)
class ClusterMatch:
    """For every cluster of one partition, its best match in another: number (−1 without tokens) and Jaccard (NaN)."""

    best: Int[np.ndarray, " cluster"]
    jaccard: Float[np.ndarray, " cluster"]


def match_clusters(
    labels: Int[np.ndarray, " token"], other: Int[np.ndarray, " token"], n_clusters: int | None = None
) -> ClusterMatch:
    """The cluster of `other` with the largest Jaccard for each of the `n_clusters` of `labels`, over shared tokens."""
    shared = count_shared(labels, other, n_clusters)
    size, other_size = shared.sum(axis=1), shared.sum(axis=0)
    union = size[:, None] + other_size[None] - shared
    jaccard = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    there = size > 0
    return ClusterMatch(
        np.where(there, jaccard.argmax(axis=1), -1), np.where(there, jaccard.max(axis=1, initial=0), np.nan)
    )


def count_shared(
    labels: Int[np.ndarray, " token"], other: Int[np.ndarray, " token"], n_clusters: int | None = None
) -> Int[np.ndarray, "cluster other"]:
    """How many tokens each pair of clusters shares."""
    assert labels.shape == other.shape, f"{len(labels)} and {len(other)} labels"
    rows = int(labels.max(initial=-1)) + 1 if n_clusters is None else n_clusters
    columns = int(other.max(initial=-1)) + 1
    return np.bincount(labels * columns + other, minlength=rows * columns).reshape(rows, columns)


def compute_ari(labels: Int[np.ndarray, " token"], other: Int[np.ndarray, " token"]) -> float:
    """Adjusted Rand index: 1 for the same partition, 0 on average for independent ones. Hubert and Arabie 1985."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(labels, other))


@dataclass(frozen=True)
class SnapshotStability:
    """A partition of the same tokens at every snapshot, held against that of one.

    `jaccard`, `chance` [snapshot cluster], `best` [snapshot cluster]: number there; `ari` [snapshot].
    """

    jaccard: Float[np.ndarray, "snapshot cluster"]
    chance: Float[np.ndarray, "snapshot cluster"]
    best: Int[np.ndarray, "snapshot cluster"]
    ari: Float[np.ndarray, " snapshot"]


def compare_snapshots(
    labels: Int[np.ndarray, "snapshot token"], reference: int = -1, n_shuffles: int = 20, seed: int = 0
) -> SnapshotStability:
    """How far the clusters of the snapshot `reference` are there at each of the others."""
    draw = np.random.default_rng(seed)
    mine = labels[reference]
    matches = [match_clusters(mine, each) for each in labels]
    chance = [
        np.mean([match_clusters(mine, draw.permutation(each)).jaccard for _ in range(n_shuffles)], axis=0)
        for each in labels
    ]
    return SnapshotStability(
        np.stack([each.jaccard for each in matches]),
        np.stack(chance),
        np.stack([each.best for each in matches]),
        np.array([compute_ari(mine, each) for each in labels]),
    )
