"""Do two things emerge together? Differences of their times over pairs, against pairs shuffled."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from ontogeny.latents.clusters import draw_weights, percentile_interval

LEAST_PAIRS = 3


@dataclass(frozen=True)
class TimesTogether:
    """Over n pairs: mean of (first − second) with its interval over draws of pairs; how far apart they are, |first −
    second|, with that of shuffled pairs; the rank correlation. p: share of shuffles that do as well or better.

    All NaN with fewer than three pairs; the rank correlation also where one side is all the same.
    """

    n: int
    difference: float
    low: float
    high: float
    distance: float
    shuffled_distance: float
    shuffled_low: float
    shuffled_high: float
    distance_p: float
    spearman: float
    spearman_p: float


def compare_times(
    first: Float[np.ndarray, " pair"],
    second: Float[np.ndarray, " pair"],
    n_draws: int = 1000,
    n_shuffles: int = 1000,
    seed: int = 0,
) -> TimesTogether:
    """Times on one axis, of pairs for which both are known; who belongs to whom is shuffled for the null."""
    n = len(first)
    if n < LEAST_PAIRS:
        return TimesTogether(n, *[float("nan")] * 10)
    difference = first - second
    low, high = percentile_interval(draw_weights(n, n_draws, seed) @ difference / n)
    draw = np.random.default_rng([seed, 1])
    orders = np.stack([draw.permutation(n) for _ in range(n_shuffles)])
    distance = float(np.abs(difference).mean())
    shuffled = np.abs(first[orders] - second).mean(axis=1)
    shuffled_low, shuffled_high = percentile_interval(shuffled)
    spearman, spearman_p = float("nan"), float("nan")
    if np.ptp(first) > 0 and np.ptp(second) > 0:
        ranks = [(rank - rank.mean()) / rank.std() for rank in (rankdata(first), rankdata(second))]
        spearman = float(ranks[0] @ ranks[1] / n)
        spearman_p = _share(ranks[0][orders] @ ranks[1] / n >= spearman - 1e-12)
    return TimesTogether(
        n,
        float(difference.mean()),
        float(low),
        float(high),
        distance,
        float(shuffled.mean()),
        float(shuffled_low),
        float(shuffled_high),
        _share(shuffled <= distance + 1e-12),
        spearman,
        spearman_p,
    )


def _share(as_good: np.ndarray) -> float:
    return float((1 + as_good.sum()) / (1 + len(as_good)))
