import numpy as np
from scipy import stats

from ontogeny.latents.many_tests import adjust_p, compute_p


def test_adjusted_p_is_scipys() -> None:
    p = np.random.default_rng(0).uniform(size=200) ** 3
    np.testing.assert_allclose(adjust_p(p), stats.false_discovery_control(p))


def test_what_was_not_tested_counts_for_nothing() -> None:
    p = np.array([[0.01, np.nan], [0.04, np.nan]])
    np.testing.assert_allclose(adjust_p(p), [[0.02, np.nan], [0.04, np.nan]])
    assert np.isnan(adjust_p(np.full(3, np.nan))).all()


def test_tests_that_are_not_listed_count() -> None:
    p = np.array([0.001, 0.02])
    np.testing.assert_allclose(adjust_p(p, 10), adjust_p(np.append(p, np.ones(8)))[:2])


def test_p_of_both_sides() -> None:
    t, degrees = np.array([2.0, -1.0, np.nan, 1.0]), np.array([5, 31, 5, 0])
    above, below = compute_p(t, degrees, above=True), compute_p(t, degrees, above=False)
    np.testing.assert_allclose((above + below)[:2], 1.0)
    assert above[0] < 0.06 and below[1] < 0.2
    assert np.isnan(above[2:]).all()


def test_false_discoveries_stay_below_the_level() -> None:
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(50):
        t = np.concatenate([rng.standard_t(31, 900), rng.standard_t(31, 100) + 6])
        called = adjust_p(compute_p(t, np.full(1000, 31), above=True)) <= 0.05
        shares.append(called[:900].sum() / max(called.sum(), 1))
    assert np.mean(shares) < 0.06
