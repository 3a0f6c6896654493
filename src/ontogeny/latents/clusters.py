"""Means over things that come in clusters: errors, bootstrap weights, and sign-flip tests of many latents at once.

Pairs about one noun, or with one prefix, are not independent: what is resampled and what is flipped are clusters.
Pure numpy.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

TESTS_AT_A_TIME = 2_048
"""A block of totals that is flipped at a time: 1,000 flips of it are 16 MB."""


@dataclass(frozen=True)
class ClusterSums:
    """Sums over the members of every cluster: `total` [cluster ...] of a quantity, `size` [cluster] of members.

    The mean is sum(total) / sum(size): clusters count by their size.
    """

    total: Float[np.ndarray, "cluster ..."]
    size: Float[np.ndarray, "cluster"]

    @property
    def mean(self) -> Float[np.ndarray, "..."]:
        """The mean over all members."""
        return np.asarray(self.total.sum(axis=0) / self.size.sum())

    @property
    def se(self) -> Float[np.ndarray, "..."]:
        """C/(C - 1) · sum over clusters of (total - mean · size)^2 / n^2, its root; NaN with one cluster.

        Source: Cochran 1977, eq. 6.13 (a mean over clusters is a ratio).
        """
        n_clusters = len(self.size)
        if n_clusters < 2:
            return np.full(self.total.shape[1:], np.nan)
        size = self.size.reshape(-1, *[1] * (self.total.ndim - 1))
        rest = np.square(self.total - self.mean * size).sum(axis=0)
        return np.asarray(np.sqrt(n_clusters / (n_clusters - 1) * rest) / self.size.sum())

    def bootstrap(self, weights: Float[np.ndarray, "draw cluster"]) -> Float[np.ndarray, "draw ..."]:
        """The mean in every draw of clusters."""
        totals = np.tensordot(weights, self.total, axes=1)
        sizes = weights @ self.size
        return np.asarray(totals / sizes.reshape(-1, *[1] * (totals.ndim - 1)))


def sum_clusters(
    values: Float[np.ndarray, "member ..."], clusters: Int[np.ndarray, "member"], n_clusters: int
) -> ClusterSums:
    """Sums per cluster of one value a member, clusters numbered from 0."""
    total = np.zeros((n_clusters, *values.shape[1:]))
    np.add.at(total, clusters, values)
    return ClusterSums(total, np.bincount(clusters, minlength=n_clusters).astype(np.float64))


def draw_weights(n_clusters: int, n_draws: int, seed: int) -> Float[np.ndarray, "draw cluster"]:
    """How often each cluster is drawn, with replacement: one draw a row. The same draw serves all that is paired."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_draws).astype(np.float64)


def percentile_interval(
    draws: Float[np.ndarray, "draw ..."], level: float = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Both ends of the bootstrap's percentile interval; NaN draws are left out, all NaN gives NaN."""
    if draws.size == 0:
        return np.full(draws.shape[1:], np.nan), np.full(draws.shape[1:], np.nan)
    tail = 100 * (1 - level) / 2
    known = ~np.isnan(draws).all(axis=0)
    filled = np.where(known, draws, 0.0)
    low, high = np.nanpercentile(filled, [tail, 100 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


@dataclass(frozen=True)
class SignFlips:
    """p-values [test] of: the mean is 0. `p`: pooled over the null of all tests; `p_family`: of the largest of all."""

    p: Float[np.ndarray, "test"]
    p_family: Float[np.ndarray, "test"]


def flip_signs(
    total: Float[np.ndarray, "cluster test"], n_flips: int = 1_000, seed: int = 0, min_clusters: int = 6
) -> SignFlips:
    """Is the mean 0? Under that, every cluster's total might as well have the other sign; see `flip_blocks`."""
    starts = range(0, total.shape[1], TESTS_AT_A_TIME)
    return flip_blocks(
        lambda: (total[:, start : start + TESTS_AT_A_TIME] for start in starts), len(total), n_flips, seed, min_clusters
    )


def flip_blocks(
    blocks: Callable[[], Iterable[Float[np.ndarray, "cluster test"]]],
    n_clusters: int,
    n_flips: int = 1_000,
    seed: int = 0,
    min_clusters: int = 6,
) -> SignFlips:
    """`flip_signs` of tests that come in blocks, gone through twice, so that they need never be in memory together.

    U = |sum of totals| / root of the sum of squares, against the same of flipped clusters, the same flips for all
    tests, so that what is correlated stays so. p = (1 + #{flips, tests: U* >= U}) / (1 + flips · tests) pools the
    tests: alone, 1,000 flips could not tell a p below 0.001. p_family = share of flips whose largest U* is >= U
    (Westfall & Young 1993). Tests with fewer than `min_clusters` clusters that are not 0 get NaN: 2^(1 - clusters)
    bounds their p from below.
    """
    statistics = [np.zeros(0), *(_compute_statistic(block, min_clusters) for block in blocks())]
    every = np.concatenate(statistics)
    p, family = np.full(len(every), np.nan), np.full(len(every), np.nan)
    tested = ~np.isnan(every)
    if not tested.any():
        return SignFlips(p, family)
    observed = every[tested]
    order = np.argsort(observed, kind="stable")
    ascending = observed[order]
    signs = np.where(np.random.default_rng(seed).random((n_flips, n_clusters)) < 0.5, -1.0, 1.0)
    largest, above = np.zeros(n_flips), np.zeros(len(observed))
    for block, statistic in zip(blocks(), statistics[1:], strict=True):
        chosen = block[:, ~np.isnan(statistic)]
        if not chosen.shape[1]:
            continue
        flipped = np.abs(signs @ chosen) / np.sqrt(np.square(chosen).sum(axis=0))
        largest = np.maximum(largest, flipped.max(axis=1))
        # How many observed ones each flipped one reaches (with room for rounding), counted from below.
        reached = np.searchsorted(ascending, flipped.reshape(-1) * (1 + 1e-9), side="right")
        above += np.cumsum(np.bincount(reached, minlength=len(observed) + 1)[::-1])[::-1][1:]
    pooled = np.empty(len(observed))
    pooled[order] = (1 + above) / (1 + n_flips * len(observed))
    p[tested] = pooled
    # Of the flips' largest, those that reach each observed one.
    largest = np.sort(largest * (1 + 1e-9))
    family[tested] = (1 + n_flips - np.searchsorted(largest, observed, side="left")) / (1 + n_flips)
    return SignFlips(p, family)


def _compute_statistic(total: Float[np.ndarray, "cluster test"], min_clusters: int) -> Float[np.ndarray, "test"]:
    """U of every test; NaN where too few clusters say anything."""
    scale = np.sqrt(np.square(total).sum(axis=0))
    tested = ((total != 0).sum(axis=0) >= min_clusters) & (scale > 0)
    return np.divide(np.abs(total.sum(axis=0)), scale, out=np.full(total.shape[1], np.nan), where=tested)


def renumber(clusters: Shaped[np.ndarray, "member"]) -> tuple[Int[np.ndarray, "member"], int]:
    """Clusters numbered from 0 without gaps, and how many there are."""
    known, places = np.unique(clusters, return_inverse=True)
    return places.astype(np.int64), len(known)
