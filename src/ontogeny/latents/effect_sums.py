"""Indirect effects summed over the prompts of a cluster, for errors, tests and bootstraps over clusters."""

import numpy as np
from jaxtyping import Int

from ontogeny.interventions.effects import IndirectEffects
from ontogeny.latents.clusters import ClusterSums


def sum_by_cluster(effects: IndirectEffects, clusters: Int[np.ndarray, "prompt"], n_clusters: int) -> ClusterSums:
    """Effects summed by cluster: [cluster active source]."""
    n_active, n_sources = len(effects.active), effects.values.shape[1]
    places = clusters[effects.prompt] * n_active + np.searchsorted(effects.active, effects.latent)
    total = np.zeros((n_clusters * n_active, n_sources))
    for source in range(n_sources):
        total[:, source] = np.bincount(places, effects.values[:, source], minlength=len(total))
    size = np.bincount(clusters, minlength=n_clusters).astype(np.float64)
    return ClusterSums(total.reshape(n_clusters, n_active, n_sources), size)
