"""Scores of what was found against what was planted: claims, times of emergence with the grid's ceiling, fates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

MATCH = 0.7
"""The MCC from which on a unit counts as matched with a rule."""


def find_claims(
    mcc: Float[np.ndarray, " rule"],
    rival: Float[np.ndarray, " rule"],
    onset_inside: Bool[np.ndarray, " rule"],
    match: float = MATCH,
) -> Bool[np.ndarray, " rule"]:
    """Whether "this rule was learned in this series" is claimed of each rule.

    A claim: the matched unit's MCC on held-out tokens is ≥ `match` and more than that of the best predictor that needs
    no model (`rival`: one token or one position), and its onset lies inside the series. NaN claims nothing.
    """
    with np.errstate(invalid="ignore"):
        return (mcc >= match) & (mcc > np.nan_to_num(rival)) & onset_inside


@dataclass(frozen=True)
class TimeScores:
    """How well steps were found: rank correlation with its permutation p, and log2 ratios of 1 + step (octaves).

    `error` is the median of |log2 ratio|, `lag` the median of the signed one (negative: found too early).
    """

    n: int
    spearman: float
    p: float
    error: float
    lag: float


def score_times(
    found: Float[np.ndarray, " rule"], true: Float[np.ndarray, " rule"], permutations: int = 1000, seed: int = 0
) -> TimeScores:
    """Steps found against true steps, over the rules for which both are known (not NaN); NaN with fewer than three.

    p = (1 + #{permuted rank correlation ≥ observed}) / (1 + permutations), one-sided.
    """
    known = ~(np.isnan(found) | np.isnan(true))
    found, true, n = found[known], true[known], int(known.sum())
    if n < 3 or np.ptp(found) == 0 or np.ptp(true) == 0:
        return TimeScores(n, *[float("nan")] * 4)
    ratio = np.log2(1 + found) - np.log2(1 + true)
    ranks = rankdata(found), rankdata(true)
    observed = np.corrcoef(*ranks)[0, 1]
    draw = np.random.default_rng(seed)
    chance = np.array([np.corrcoef(draw.permutation(ranks[0]), ranks[1])[0, 1] for _ in range(permutations)])
    p = (1 + np.sum(chance >= observed - 1e-12)) / (1 + permutations)
    return TimeScores(n, float(observed), float(p), float(np.median(np.abs(ratio))), float(np.median(ratio)))


def ceil_to_grid(true: Float[np.ndarray, " rule"], grid: Float[np.ndarray, " snapshot"]) -> Float[np.ndarray, " rule"]:
    """The first snapshot at or after each true step: what one who knows everything could say on this grid."""
    place = np.searchsorted(grid, true)
    return np.where(np.isnan(true) | (place >= len(grid)), np.nan, grid[np.minimum(place, len(grid) - 1)])


def score_classes(found: Sequence[str], true: Sequence[str]) -> Mapping[str, float]:
    """F1 of every class that is among the true ones: 2 tp / (2 tp + fp + fn)."""
    scores = {}
    for name in dict.fromkeys(true):
        hits = sum(f == name and t == name for f, t in zip(found, true, strict=True))
        scores[name] = 2 * hits / (sum(f == name for f in found) + sum(t == name for t in true))
    return scores
