"""From metrics of prompts to curves with intervals: faithfulness, completeness, how many latents it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.latents.clusters import ClusterSums, draw_weights, percentile_interval, renumber, sum_clusters

HALF = 0.5


@dataclass(frozen=True)
class Estimate:
    """A number with its draws: `value` [...], `draws` [draw ...]."""

    value: Float[np.ndarray, "..."]
    draws: Float[np.ndarray, "draw ..."]

    def interval(self) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Both ends of the 95 % interval; NaN without draws."""
        return percentile_interval(self.draws)

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference, paired by draw."""
        return Estimate(np.asarray(self.value - other.value), self.draws - other.draws)


class Judge:
    """Means over the measured prompts of one behaviour, the same draws of clusters for all that is compared.

    With one cluster there are no draws, and every interval is missing.
    """

    def __init__(self, clusters: Int[np.ndarray, "prompt"], n_draws: int, n_seeds: int, seed: int) -> None:
        self.clusters, self.n_clusters = renumber(clusters)
        self.n = len(clusters)
        self.weights = draw_weights(self.n_clusters, n_draws if self.n_clusters > 1 else 0, seed)
        self.seeds = draw_weights(n_seeds, len(self.weights), seed + 1) / n_seeds

    def mean(self, values: Float[np.ndarray, "prompt ..."]) -> Estimate:
        """The mean over prompts."""
        sums = self.sums(values)
        return Estimate(sums.mean, sums.bootstrap(self.weights))

    def sums(self, values: Float[np.ndarray, "prompt ..."]) -> ClusterSums:
        """Sums by cluster."""
        return sum_clusters(values, self.clusters, self.n_clusters)

    def mean_over_seeds(self, values: Sequence[Float[np.ndarray, "prompt count"]]) -> Estimate:
        """The mean over prompts and over a control's draws, these drawn anew with the clusters."""
        each = [self.mean(one) for one in values]
        if len(each) == 1:
            return each[0]
        drawn = np.einsum("ds,sdc->dc", self.seeds, np.stack([one.draws for one in each]))
        return Estimate(np.mean([one.value for one in each], axis=0), drawn)


def is_right(metric: Float[np.ndarray, "prompt ..."]) -> Float[np.ndarray, "prompt ..."]:
    """1 where the right answer is likelier (m < 0), half where both are as likely."""
    return (metric < 0) + 0.5 * (metric == 0)


def share_of(part: Estimate, none: Estimate, whole: Estimate) -> Estimate | None:
    """(part - none) / (whole - none), per count; None where it is not sure that whole and none differ."""
    span = whole.minus(none)
    low, high = span.interval()
    if span.value == 0 or not (low > 0 or high < 0):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (part.value - none.value) / span.value
        draws = (part.draws - none.draws[:, None]) / span.draws[:, None]
    return Estimate(np.asarray(value), np.where(np.isfinite(draws), draws, np.nan))


def half_counts(share: Estimate, counts: Sequence[int]) -> tuple[float, float, float]:
    """How many latents bring a share to one half, with its interval; NaN where it is never reached.

    The first crossing, linear in log n between the counts; an end of the interval that lies where draws never cross is
    missing.
    """
    if not counts:
        return float("nan"), float("nan"), float("nan")
    value = float(_first_half(np.asarray(share.value)[None], counts)[0])
    if not len(share.draws):
        return value, float("nan"), float("nan")
    drawn = np.sort(np.nan_to_num(_first_half(share.draws, counts), nan=np.inf))
    ends = np.quantile(drawn, [0.025, 0.975], method="nearest")
    low, high = (float(end) if np.isfinite(end) else float("nan") for end in ends)
    return value, low, high


def _first_half(shares: Float[np.ndarray, "draw count"], counts: Sequence[int]) -> Float[np.ndarray, "draw"]:
    above = shares >= HALF
    place = above.argmax(axis=1)
    rows, before = np.arange(len(shares)), np.maximum(place - 1, 0)
    log = np.log2(np.asarray(counts, dtype=np.float64))
    low, high = shares[rows, before], shares[rows, place]
    along = np.divide(HALF - low, high - low, out=np.ones(len(shares)), where=high > low)
    found = 2 ** (log[before] + along * (log[place] - log[before]))
    return np.where(above.any(axis=1), np.where(place == 0, float(counts[0]), found), np.nan)


def rank_correlation(one: Float[np.ndarray, "latent"], other: Float[np.ndarray, "latent"]) -> float:
    """Spearman's: the correlation of ranks, ties averaged; NaN with fewer than 3 pairs or no spread."""
    from scipy import stats

    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 3:
        return float("nan")
    first, second = stats.rankdata(one[known]), stats.rankdata(other[known])
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
