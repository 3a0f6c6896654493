"""Indirect effects summed over the prompts of a cluster, for errors, tests and bootstraps over clusters.

Kept where a latent has an effect and nowhere else: a latent acts on few prompts, and [cluster latent source] of a large
dictionary is more than a machine holds. What needs whole columns gets them a block of latents at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from ontogeny.interventions.effects import IndirectEffects
from ontogeny.latents.clusters import TESTS_AT_A_TIME, ClusterSums

CELLS_AT_A_TIME = 1 << 21
"""Cells (cluster, latent, source) of a block: 16 MB."""


@dataclass(frozen=True)
class EffectSums:
    """Sums by cluster of some latents' effects: entries (latent, cluster), sorted by latent, then cluster.

    `latents` [latent], ascending; latent i has the entries `pointer[i]:pointer[i + 1]`, of the clusters `cluster`
    [entry], with `total` [entry source]; `size` [cluster]: members.
    """

    latents: Int[np.ndarray, "latent"]
    pointer: Int[np.ndarray, "latent_plus_1"]
    cluster: Int[np.ndarray, "entry"]
    total: Float[np.ndarray, "entry source"]
    size: Float[np.ndarray, "cluster"]

    @property
    def n_sources(self) -> int:
        """Sources."""
        return self.total.shape[1]

    @cached_property
    def n_clusters(self) -> Int[np.ndarray, "latent"]:
        """Clusters in which each latent has an effect that is not 0 in some source."""
        place = np.repeat(np.arange(len(self.latents)), np.diff(self.pointer))
        return np.bincount(place[(self.total != 0).any(axis=1)], minlength=len(self.latents))

    @cached_property
    def mean(self) -> Float[np.ndarray, "latent source"]:
        """The mean over all members."""
        return self._by_block("mean")

    @cached_property
    def se(self) -> Float[np.ndarray, "latent source"]:
        """Its standard error over clusters; NaN with one cluster."""
        return self._by_block("se")

    def take(self, places: Int[np.ndarray, "chosen"]) -> ClusterSums:
        """Whole columns of a few latents, by their place: [cluster chosen source]."""
        lengths = np.diff(self.pointer)[places]
        column = np.repeat(np.arange(len(places)), lengths)
        entry = np.arange(len(column)) + np.repeat(self.pointer[places] - np.cumsum(lengths) + lengths, lengths)
        total = np.zeros((len(self.size), len(places), self.n_sources))
        total[self.cluster[entry], column] = self.total[entry]
        return ClusterSums(total, self.size)

    def iter_places(self) -> Iterator[Int[np.ndarray, "chosen"]]:
        """All places, as many at a time as a block holds."""
        step = min(CELLS_AT_A_TIME // max(len(self.size) * self.n_sources, 1), TESTS_AT_A_TIME // self.n_sources)
        for start in range(0, len(self.latents), max(step, 1)):
            yield np.arange(start, min(start + max(step, 1), len(self.latents)))

    def iter_tests(self) -> Iterator[Float[np.ndarray, "cluster test"]]:
        """Blocks of whole columns, latent after latent, in each all sources."""
        for places in self.iter_places():
            yield self.take(places).total.reshape(len(self.size), -1)

    def _by_block(self, name: str) -> Float[np.ndarray, "latent source"]:
        blocks = [getattr(self.take(places), name) for places in self.iter_places()]
        return np.concatenate([np.zeros((0, self.n_sources)), *blocks])


def sum_entries(
    latents: Int[np.ndarray, "latent"],
    latent: Int[np.ndarray, "part"],
    cluster: Int[np.ndarray, "part"],
    values: Float[np.ndarray, "part source"],
    size: Float[np.ndarray, "cluster"],
) -> EffectSums:
    """Sums of `values`, each of a latent (one of `latents`, ascending) in a cluster numbered from 0."""
    n_clusters = max(len(size), 1)
    keys = np.searchsorted(latents, latent) * n_clusters + cluster
    unique, inverse = np.unique(keys, return_inverse=True)
    sums = [np.bincount(inverse, column, minlength=len(unique)) for column in values.T]
    pointer = np.searchsorted(unique, np.arange(len(latents) + 1) * n_clusters)
    return EffectSums(latents, pointer, unique % n_clusters, np.stack(sums, axis=1), size)


def sum_by_cluster(effects: IndirectEffects, clusters: Int[np.ndarray, "prompt"], n_clusters: int) -> EffectSums:
    """Effects of all active latents summed by cluster; prompts of cluster -1 are left out."""
    chosen = clusters >= 0
    kept = chosen[effects.prompt]
    size = np.bincount(clusters[chosen], minlength=n_clusters).astype(np.float64)
    return sum_entries(effects.active, effects.latent[kept], clusters[effects.prompt[kept]], effects.values[kept], size)
