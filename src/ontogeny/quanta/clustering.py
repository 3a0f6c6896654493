"""Clusters of tokens: spectral, one eigendecomposition for every number of clusters, and average linkage, one tree."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import eigh
from scipy.spatial.distance import squareform

from ontogeny.errors import AnalysisError


@dataclass(frozen=True)
class SpectralEmbedding:
    """The leading eigenvectors u of D^-½ A D^-½, as D^-½ u, largest eigenvalue first.

    A is the affinity without its diagonal, D its row sums. The first k columns are what k clusters are made from.
    Source: Shi and Malik 2000; the scaling is that of scikit-learn's spectral clustering.
    """

    vectors: Float[np.ndarray, "token component"]
    eigenvalues: Float[np.ndarray, " component"]

    def labels(self, n_clusters: int, seed: int = 0, n_init: int = 30) -> Int[np.ndarray, " token"]:
        """k-means on the first `n_clusters` columns; clusters numbered by size, largest first.

        AnalysisError if that many columns are not there.
        """
        from sklearn.cluster import KMeans

        if n_clusters > self.vectors.shape[1]:
            raise AnalysisError(
                f"{n_clusters} clusters were asked for and {self.vectors.shape[1]} eigenvectors are there; embed with "
                f"max_clusters = {n_clusters}."
            )
        # As published, k-means starts after the numbers that an iterative eigensolver takes for its first vector.
        state = np.random.RandomState(seed)
        state.uniform(-1, 1, len(self.vectors))
        means = KMeans(n_clusters, n_init=n_init, random_state=state)
        return number_by_size(means.fit_predict(self.vectors[:, :n_clusters]))


def embed_affinity(affinity: Float[np.ndarray, "token token"], max_clusters: int) -> SpectralEmbedding:
    """Decompose once for all numbers of clusters up to `max_clusters`. AnalysisError if there are no more tokens."""
    _check_count(max_clusters, len(affinity))
    joined = affinity.astype(np.float64)
    np.fill_diagonal(joined, 0)
    degree = joined.sum(axis=1)
    root = np.sqrt(np.where(degree > 0, degree, 1.0))
    # 1 on the diagonal of a token that is joined with none: it is a component of its own, with eigenvalue 0 of L.
    joined = joined / root[:, None] / root[None] - np.diag((degree > 0).astype(np.float64))
    values, vectors = eigh(joined, subset_by_index=(len(joined) - max_clusters, len(joined) - 1))
    vectors = vectors[:, ::-1] / root[:, None]
    # A sign that does not depend on the solver, so that k-means starts from the same points.
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(max_clusters)])
    return SpectralEmbedding(vectors, values[::-1] + 1)


@dataclass(frozen=True)
class LinkageTree:
    """Clusters joined two by two, nearest first, by the mean of 1 − cosine over pairs: one tree for every number."""

    merges: Float[np.ndarray, "merge 4"]
    """As scipy's `linkage` has them: the two joined, their distance, and how many tokens they then hold."""

    def labels(self, n_clusters: int) -> Int[np.ndarray, " token"]:
        """The tree cut into clusters (fewer where distances tie), numbered by size, largest first."""
        _check_count(n_clusters, len(self.merges) + 1)
        return number_by_size(fcluster(self.merges, n_clusters, criterion="maxclust"))


def link_tokens(similarity: Float[np.ndarray, "token token"]) -> LinkageTree:
    """Average linkage on 1 − cosine; deterministic. Source: Sokal and Michener 1958."""
    distance = np.clip(1 - similarity.astype(np.float64), 0, 2)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    return LinkageTree(linkage(squareform(distance, checks=False), method="average"))


def number_by_size(labels: Int[np.ndarray, " token"]) -> Int[np.ndarray, " token"]:
    """Clusters numbered from 0, largest first; equal sizes by their first token."""
    _, first, place, size = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(size), dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return rank[place]


def compute_cohesion(
    similarity: Float[np.ndarray, "token token"], labels: Int[np.ndarray, " token"]
) -> Float[np.ndarray, " cluster"]:
    """Mean cosine over the pairs of a cluster's tokens; NaN for a cluster of one."""
    member = np.eye(int(labels.max()) + 1)[labels]
    size = member.sum(axis=0)
    within = np.einsum("ic,ij,jc->c", member, similarity, member, optimize=True) - member.T @ np.diag(similarity)
    pairs = size * (size - 1)
    return np.asarray(np.divide(within, pairs, out=np.full(len(size), np.nan), where=pairs > 0))


def _check_count(n_clusters: int, n_tokens: int) -> None:
    if not 1 <= n_clusters < n_tokens:
        raise AnalysisError(
            f"{n_clusters} clusters cannot be made of {n_tokens} tokens; ask for fewer clusters or choose more tokens."
        )
