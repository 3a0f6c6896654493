"""Shares, half counts and intervals against closed forms."""

import numpy as np
import pytest
from scipy import stats

from ontogeny.analyses.ablation.judge import Estimate, Judge, half_counts, is_right, rank_correlation, share_of


def sure(value: float, n_draws: int = 50) -> Estimate:
    """A number that is the same in every draw."""
    return Estimate(np.asarray(value), np.full(n_draws, value))


def test_a_share_is_of_the_way_from_none_to_whole() -> None:
    part = Estimate(np.array([1.0, 2.0, 5.0]), np.tile([1.0, 2.0, 5.0], (50, 1)))
    share = share_of(part, sure(1.0), sure(5.0))
    assert share is not None and share.value.tolist() == [0, 0.25, 1] and np.allclose(share.draws, share.value)
    assert share_of(part, sure(5.0), sure(1.0)).value.tolist() == [1, 0.75, 0]  # type: ignore[union-attr]


def test_a_share_of_what_may_be_nothing_is_missing() -> None:
    part = Estimate(np.array([1.0]), np.ones((50, 1)))
    unsure = Estimate(np.asarray(0.3), np.linspace(-1, 2, 50))
    assert share_of(part, sure(0.0), unsure) is None and share_of(part, sure(2.0), sure(2.0)) is None
    undrawn = Estimate(np.asarray(3.0), np.zeros(0))
    assert share_of(part, Estimate(np.asarray(0.0), np.zeros(0)), undrawn) is None


def test_half_is_reached_between_counts_by_their_logarithm() -> None:
    share = Estimate(np.array([0.0, 0.25, 0.75]), np.tile([0.0, 0.25, 0.75], (50, 1)))
    value, low, high = half_counts(share, [1, 4, 16])
    assert value == pytest.approx(8) and low == pytest.approx(8) and high == pytest.approx(8)
    assert half_counts(Estimate(np.array([0.6, 0.9]), np.zeros((0, 2))), [2, 4])[0] == 2
    never = half_counts(Estimate(np.array([0.1, 0.2]), np.full((50, 2), 0.1)), [2, 4])
    assert np.isnan(never).all() and np.isnan(half_counts(Estimate(np.zeros(0), np.zeros((50, 0))), [])).all()


def test_an_end_that_half_of_the_draws_never_reach_is_missing() -> None:
    draws = np.concatenate([np.tile([0.0, 1.0], (25, 1)), np.tile([0.0, 0.1], (25, 1))])
    value, low, high = half_counts(Estimate(np.array([0.0, 1.0]), draws), [1, 4])
    assert value == low == 2 and np.isnan(high)


def test_means_and_intervals_are_over_clusters_and_seeds() -> None:
    clusters = np.repeat(np.arange(8), 3)
    values = np.random.default_rng(0).normal(size=(24, 2)) + np.array([0.0, 5.0])
    judge = Judge(clusters, 400, 3, seed=0)
    found = judge.mean(values)
    assert np.allclose(found.value, values.mean(axis=0)) and found.draws.shape == (400, 2)
    same = judge.mean_over_seeds([values, values, values])
    assert np.allclose(same.value, found.value) and np.allclose(same.draws, found.draws)
    apart = judge.mean_over_seeds([values - 1, values, values + 1])
    assert np.allclose(apart.value, found.value) and apart.draws.std() > found.draws.std()
    low, high = found.interval()
    assert (low < found.value).all() and (found.value < high).all()
    alone = Judge(np.zeros(4, dtype=np.int64), 400, 3, seed=0).mean(values[:4])
    assert np.allclose(alone.value, values[:4].mean(axis=0)) and np.isnan(alone.interval()).all()


def test_right_is_below_zero_and_ties_count_half() -> None:
    assert is_right(np.array([-1.0, 0.0, 2.0])).tolist() == [1, 0.5, 0]


def test_rank_correlation_is_spearman_s() -> None:
    draw = np.random.default_rng(1)
    one, other = draw.integers(0, 5, 30).astype(float), draw.random(30)
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert np.isnan(rank_correlation(one[:2], other[:2])) and np.isnan(rank_correlation(np.ones(5), other[:5]))
