"""Cluster errors and draws against brute force; sign-flip tests under the null and with an effect."""

import numpy as np
import pytest

from ontogeny.latents.clusters import (
    ClusterSums,
    draw_weights,
    flip_signs,
    percentile_interval,
    renumber,
    sum_clusters,
)
from ontogeny.latents.many_tests import adjust_p


def test_sums_means_and_draws_are_those_of_the_members() -> None:
    draw = np.random.default_rng(0)
    clusters, n = renumber(draw.integers(0, 30, 200) * 7)
    values = draw.normal(size=(200, 3))
    sums = sum_clusters(values, clusters, n)
    assert np.allclose(sums.mean, values.mean(axis=0))
    weights = draw_weights(n, 5, 1)
    assert (weights.sum(axis=1) == n).all()
    expected = [np.average(values, axis=0, weights=each[clusters]) for each in weights]
    assert np.allclose(sums.bootstrap(weights), expected)


def test_the_error_is_that_of_the_bootstrap_and_of_the_mean_where_members_are_alone() -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(size=400)
    alone = sum_clusters(values, np.arange(400), 400)
    assert np.isclose(alone.se, values.std(ddof=1) / 20)
    clusters, n = renumber(draw.integers(0, 100, 400))
    clustered = sum_clusters(values + draw.normal(size=100)[clusters], clusters, n)
    draws = clustered.bootstrap(draw_weights(n, 4_000, 2))
    assert np.isclose(clustered.se, draws.std(), rtol=0.1)
    assert clustered.se > 1.2 * alone.se
    assert np.isnan(ClusterSums(np.ones((1, 2)), np.ones(1)).se).all()


def test_intervals_leave_out_missing_draws() -> None:
    draws = np.linspace(0, 1, 101)[:, None].repeat(3, axis=1)
    draws[:, 1] = np.nan
    draws[0, 2] = np.nan
    low, high = percentile_interval(draws)
    assert np.isclose(low[0], 0.025) and np.isclose(high[0], 0.975)
    assert np.isnan(low[1]) and np.isnan(high[1]) and low[2] > low[0]


def test_one_test_alone_has_the_p_value_of_all_sign_patterns() -> None:
    total = np.random.default_rng(3).normal(size=(8, 1)) + 0.8
    patterns = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T
    exact = (np.abs(patterns @ total)[:, 0] >= abs(total.sum()) - 1e-9).mean()
    found = flip_signs(total, n_flips=20_000)
    assert np.isclose(found.p[0], exact, atol=0.01) and np.isclose(found.p_family[0], exact, atol=0.01)


def test_pooled_counts_are_those_of_a_loop() -> None:
    total = np.random.default_rng(4).normal(size=(12, 5))
    signs = np.where(np.random.default_rng(9).random((50, 12)) < 0.5, -1.0, 1.0)
    scale = np.sqrt((total**2).sum(axis=0))
    flipped, observed = np.abs(signs @ total) / scale, np.abs(total.sum(axis=0)) / scale
    expected = [(1 + (flipped * (1 + 1e-9) >= each).sum()) / (1 + flipped.size) for each in observed]
    assert np.allclose(flip_signs(total, n_flips=50, seed=9).p, expected)


def test_under_the_null_few_families_have_a_discovery() -> None:
    called = family = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        shared = draw.standard_t(4, size=(40, 1))
        total = (draw.standard_t(4, size=(40, 80)) + shared) * (draw.random((40, 80)) < 0.5)
        tests = flip_signs(total, n_flips=300, seed=seed)
        called += bool((adjust_p(tests.p) < 0.05).any())
        family += bool((tests.p_family < 0.05).any())
    assert called <= 8 and family <= 8, "5 % of 60 are 3"


def test_effects_are_found_and_rare_latents_are_not_tested() -> None:
    draw = np.random.default_rng(5)
    total = draw.normal(size=(40, 60))
    total[:, :3] += 1.5
    total[5:, 59] = 0
    tests = flip_signs(total)
    q = adjust_p(tests.p)
    assert (q[:3] < 0.05).all() and (tests.p_family[:3] < 0.05).all()
    assert np.isnan(tests.p[59]) and np.isnan(tests.p_family[59])
    assert (q[3:59] < 0.05).sum() <= 2
    assert np.isnan(flip_signs(np.zeros((10, 2))).p).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_draws_the_same(seed: int) -> None:
    assert np.array_equal(draw_weights(9, 4, seed), draw_weights(9, 4, seed))
