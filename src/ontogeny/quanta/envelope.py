"""How cluster sizes fall with their rank: the envelope over many numbers of clusters, its slope, and what it is worth.

envelope[r] = max over numbers of clusters of the size at rank r; the slope is that of log size on log rank over a range
of ranks. A planted control tells the method's own bias: clusters of known sizes go the same way (see `planted`).
Source: Michaud et al. 2023, arXiv 2303.13506 (ranks 100 to 1000 of 10,000 tokens, slope −1.24 ± 0.2).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from ontogeny.errors import AnalysisError
from ontogeny.quanta.methods import Clusterer
from ontogeny.quanta.planted import measure_levels, plant_like, plant_sizes
from ontogeny.quanta.stability import compute_ari

COUNTS: tuple[int, ...] = (*range(10, 100, 10), *range(100, 301, 25), 350, *range(400, 1201, 100), 1400, 1500)
"""Numbers of clusters, as published."""
Z95 = 1.96


def clip_counts(n_tokens: int, counts: Sequence[int] = COUNTS) -> tuple[int, ...]:
    """The numbers of clusters that so many tokens can be cut into. AnalysisError if there is none."""
    kept = tuple(count for count in counts if count < n_tokens)
    if not kept:
        raise AnalysisError(
            f"{n_tokens} tokens cannot be cut into {min(counts)} clusters, the least number of the envelope; choose "
            "more tokens or give smaller numbers."
        )
    return kept


def compute_envelope(
    partitions: Iterable[Int[np.ndarray, " token"]], weights: Float[np.ndarray, " token"] | None = None
) -> Float[np.ndarray, " rank"]:
    """max over partitions of the size at each rank, largest first; tokens count by `weights`."""
    sizes = [np.sort(np.bincount(labels, weights=weights))[::-1].astype(np.float64) for labels in partitions]
    envelope = np.zeros(max(map(len, sizes)))
    for each in sizes:
        envelope[: len(each)] = np.maximum(envelope[: len(each)], each)
    return envelope


def scale_ranks(n_ranks: int) -> tuple[int, int]:
    """A decade that ends at two thirds of the ranks, as the published range does at 1,500 clusters; from rank 3 on."""
    last = 2 * n_ranks // 3
    return max(3, last // 10), last


def fit_slope(envelope: Float[np.ndarray, " rank"], ranks: tuple[int, int]) -> float:
    """Least squares of log size on log rank over ranks first … last, counted from 1, both included.

    AnalysisError if the envelope does not have them, or there are fewer than two.
    """
    first, last = ranks
    filled = int((envelope > 0).sum())
    if not 1 <= first < last <= filled:
        raise AnalysisError(
            f"a slope over ranks {first} to {last} was asked for and the envelope has ranks 1 to {filled}; ask for a "
            "range within these, or choose more tokens."
        )
    rank = np.arange(first, last + 1)
    return float(np.polyfit(np.log(rank), np.log(envelope[first - 1 : last]), 1)[0])


@dataclass(frozen=True)
class EnvelopeFit:
    """An envelope, its slope over `ranks`, and the interval of the slope over draws of tokens.

    `low`, `high`: slope ∓ 1.96 `se`, the spread over draws (NaN with fewer than two). `sizes_low`, `sizes_high`: ends
    of the percentile interval of the envelope's sizes over the same draws, empty without draws.
    """

    envelope: Float[np.ndarray, " rank"]
    ranks: tuple[int, int]
    slope: float
    se: float
    n_draws: int
    sizes_low: Float[np.ndarray, " rank_drawn"]
    sizes_high: Float[np.ndarray, " rank_drawn"]

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.slope - Z95 * self.se

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.slope + Z95 * self.se


def fit_envelope(
    similarity: Float[np.ndarray, "token token"],
    clusterer: Clusterer,
    counts: Sequence[int] = COUNTS,
    ranks: tuple[int, int] | None = None,
    n_draws: int = 0,
    groups: Shaped[np.ndarray, " token"] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> EnvelopeFit:
    """The envelope of a sample; with `n_draws`, groups (documents; else tokens) are drawn anew and clustered anew.

    A token drawn more than once is clustered once and counts as often as it was drawn.
    """
    envelope = compute_envelope(clusterer(similarity, clip_counts(len(similarity), counts)).values())
    chosen = scale_ranks(len(envelope)) if ranks is None else ranks
    slope = fit_slope(envelope, chosen)
    draw = np.random.default_rng(seed)
    unit = np.arange(len(similarity)) if groups is None else np.unique(groups, return_inverse=True)[1]
    slopes, sizes = [], np.zeros((n_draws, len(envelope)))
    for number in range(n_draws):
        times = np.bincount(draw.integers(unit.max() + 1, size=unit.max() + 1), minlength=unit.max() + 1)[unit]
        kept = np.flatnonzero(times)
        partitions = clusterer(similarity[np.ix_(kept, kept)], clip_counts(len(kept), counts))
        again = compute_envelope(partitions.values(), times[kept].astype(np.float64))
        slopes.append(fit_slope(again, (chosen[0], min(chosen[1], len(again)))))
        shared = min(len(again), len(envelope))
        sizes[number, :shared] = again[:shared]
    se = float(np.std(slopes, ddof=1)) if len(slopes) > 1 else float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(sizes, [tail, 1 - tail], axis=0) if n_draws else np.zeros((2, 0))
    return EnvelopeFit(envelope, chosen, slope, se, len(slopes), low, high)


@dataclass(frozen=True)
class PlantedControl:
    """What the method makes of clusters whose sizes are known: `truth`, the slope of their own sizes over the ranks.

    `found` [draw]: slopes found; `bias` = mean(found) − truth with its standard error `se`; `ari` [draw] at the true
    number of clusters, or the largest that was tried. `sizes`: the planted ones; `envelope`: the mean found.
    """

    exponent: float
    truth: float
    found: Float[np.ndarray, " draw"]
    ari: Float[np.ndarray, " draw"]
    sizes: Float[np.ndarray, " cluster"]
    envelope: Float[np.ndarray, " rank"]

    @property
    def bias(self) -> float:
        """Mean slope found less the true one."""
        return float(self.found.mean() - self.truth)

    @property
    def se(self) -> float:
        """Standard error of `bias` over draws; NaN with fewer than two."""
        return float(self.found.std(ddof=1) / np.sqrt(len(self.found))) if len(self.found) > 1 else float("nan")


def run_planted_control(
    similarity: Float[np.ndarray, "token token"],
    labels: Int[np.ndarray, " token"],
    clusterer: Clusterer,
    ranks: tuple[int, int],
    exponent: float,
    counts: Sequence[int] = COUNTS,
    n_draws: int = 3,
    seed: int = 0,
) -> PlantedControl:
    """The same clusterer, numbers and ranks on planted vectors with the cosines that `labels` have in the sample.

    Sizes ∝ rank^−exponent, as many clusters as the envelope has ranks (fewer where sizes would be below one).
    """
    kept = clip_counts(len(similarity), counts)
    levels = measure_levels(similarity, labels)
    sizes = plant_sizes(len(similarity), max(kept), exponent)
    nearest = min(kept, key=lambda count: abs(count - len(sizes)))
    found, ari, total = [], [], np.zeros(max(kept))
    for number in range(n_draws):
        planted = plant_like(sizes, levels, seed + number)
        partitions = clusterer(planted.similarity, kept)
        envelope = compute_envelope(partitions.values())
        found.append(fit_slope(envelope, (ranks[0], min(ranks[1], len(envelope)))))
        ari.append(compute_ari(planted.labels, partitions[nearest]))
        total[: len(envelope)] += envelope
    truth = fit_slope(sizes.astype(np.float64), (ranks[0], min(ranks[1], len(sizes))))
    mean = total[total > 0] / n_draws
    return PlantedControl(exponent, truth, np.array(found), np.array(ari), sizes.astype(np.float64), mean)
