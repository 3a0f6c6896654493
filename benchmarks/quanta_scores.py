"""Clusters against planted labels: adjusted Rand index and adjusted mutual information, for every way to cluster."""

from typing import TypedDict, get_args

import numpy as np

from ontogeny.quanta.methods import Method, cluster_tokens
from ontogeny.quanta.stability import compute_ari

PARTITIONS: tuple[Method, ...] = get_args(Method)
STARTS = 5
"""Starts of k-means."""


class Scores(TypedDict):
    """Of one partition."""

    ari: float
    ami: float


def score_labels(labels: np.ndarray, truth: np.ndarray) -> Scores:
    """ARI and AMI of two partitions (Hubert and Arabie 1985; Vinh et al. 2010)."""
    from sklearn.metrics import adjusted_mutual_info_score

    return {"ari": compute_ari(truth, labels), "ami": float(adjusted_mutual_info_score(truth, labels))}


def score_similarity(name: str, similarity: np.ndarray, truth: np.ndarray, n_clusters: int) -> dict[str, Scores]:
    """ "NAME, WAY" → scores at the true number of clusters."""
    return {
        f"{name}, {partition}": score_labels(
            cluster_tokens(similarity, [n_clusters], partition, n_init=STARTS)[n_clusters], truth
        )
        for partition in PARTITIONS
    }
