"""The ways to cluster tokens, by name: each gives labels for several numbers of clusters from one decomposition."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ontogeny.quanta.affinity import compute_angular_affinity, compute_regularised_affinity
from ontogeny.quanta.clustering import embed_affinity, link_tokens

Method = Literal["regularised", "angular", "linkage"]
"""Spectral with the regularised affinity, spectral as published, average linkage."""
Clusterer = Callable[[np.ndarray, Sequence[int]], Mapping[int, np.ndarray]]
"""(cosines [token token], numbers of clusters) → number → labels [token], clusters by size."""


def cluster_tokens(
    similarity: Float[np.ndarray, "token token"],
    counts: Sequence[int],
    method: Method = "regularised",
    *,
    background: float = 0.3,
    seed: int = 0,
    n_init: int = 30,
) -> dict[int, Int[np.ndarray, " token"]]:
    """Labels for every number of clusters in `counts`; `background` is the τ of the regularised affinity.

    `n_init` starts of k-means each. AnalysisError for a number that is not below that of tokens.
    """
    if method == "linkage":
        tree = link_tokens(similarity)
        return {count: tree.labels(count) for count in counts}
    if method == "angular":
        affinity = compute_angular_affinity(similarity)
    else:
        affinity = compute_regularised_affinity(similarity, background)
    embedding = embed_affinity(affinity, max(counts))
    return {count: embedding.labels(count, seed, n_init) for count in counts}


def make_clusterer(
    method: Method = "regularised", background: float = 0.3, seed: int = 0, n_init: int = 30
) -> Clusterer:
    """`cluster_tokens` with everything settled but tokens and numbers: what stability and envelope recluster with."""
    return partial(cluster_tokens, method=method, background=background, seed=seed, n_init=n_init)
