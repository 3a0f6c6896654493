"""Claims, times and fates against hand-made truth."""

import numpy as np
import pytest

from ontogeny.analyses.rules.scores import ceil_to_grid, find_claims, score_classes, score_times


def test_a_claim_needs_a_match_a_weaker_rival_and_an_onset_inside() -> None:
    claims = find_claims(
        mcc=np.array([0.7, 0.69, 0.9, 0.9, np.nan]),
        rival=np.array([0.2, 0.2, 0.95, 0.2, np.nan]),
        onset_inside=np.array([True, True, True, False, True]),
    )
    assert claims.tolist() == [True, False, False, False, False]


def test_times_are_scored_by_rank_and_by_octaves() -> None:
    true = np.array([1.0, 3, 7, 15, 31, np.nan, 63])
    perfect = score_times(true, true)
    assert (perfect.n, perfect.spearman, perfect.error, perfect.lag) == (6, pytest.approx(1), 0, 0)
    assert perfect.p < 0.01
    late = score_times(2 * (1 + true) - 1, true)
    assert late.spearman == pytest.approx(1) and late.error == late.lag == pytest.approx(1)
    backwards = score_times(true[::-1], true)
    assert backwards.spearman < 0 and backwards.p > 0.5
    few = score_times(true[:2], true[:2])
    assert few.n == 2 and np.isnan([few.spearman, few.p, few.error, few.lag]).all()


def test_the_grid_allows_the_first_snapshot_at_or_after_the_true_step() -> None:
    grid = np.array([0.0, 16, 64, 256])
    found = ceil_to_grid(np.array([0, 5, 16, 65, 257, np.nan]), grid)
    np.testing.assert_array_equal(found, [0, 16, 16, 256, np.nan, np.nan])


def test_f1_by_class() -> None:
    scores = score_classes(["a", "a", "b", "c"], ["a", "b", "b", "a"])
    assert scores == {"a": pytest.approx(0.5), "b": pytest.approx(2 / 3)}
