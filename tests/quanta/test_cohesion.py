"""Cohesion, centrality and neighbours against loops over pairs."""

import itertools

import numpy as np

from ontogeny.quanta.clustering import compute_cohesion
from ontogeny.quanta.cohesion import bootstrap_cohesion, compute_centrality, find_neighbours


def some_sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(12, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.array([0] * 5 + [1] * 4 + [2] * 2 + [3])
    return vectors @ vectors.T, labels, draw.integers(0, 3, size=(8, 12)).astype(np.float64)


def test_cohesion_in_every_draw() -> None:
    similarity, labels, weights = some_sample()
    found = bootstrap_cohesion(similarity, labels, weights)
    for draw, cluster in itertools.product(range(8), range(4)):
        members = np.flatnonzero(labels == cluster)
        pairs = [(i, j) for i in members for j in members if i != j]
        weight = sum(weights[draw, i] * weights[draw, j] for i, j in pairs)
        if weight == 0:
            assert np.isnan(found[draw, cluster])
        else:
            total = sum(weights[draw, i] * weights[draw, j] * similarity[i, j] for i, j in pairs)
            assert np.isclose(found[draw, cluster], total / weight)
    once = bootstrap_cohesion(similarity, labels, np.ones((1, 12)))[0]
    np.testing.assert_allclose(once, compute_cohesion(similarity, labels))


def test_centrality_is_the_mean_cosine_to_the_others() -> None:
    similarity, labels, _ = some_sample()
    found = compute_centrality(similarity, labels)
    assert np.isclose(found[0], similarity[0, 1:5].mean()) and np.isnan(found[11])


def test_neighbours_are_the_nearest_by_mean_cosine() -> None:
    similarity, labels, weights = some_sample()
    found = find_neighbours(similarity, labels, weights, 2)
    means = {other: similarity[np.ix_(labels == 0, labels == other)].mean() for other in (1, 2, 3)}
    nearest = sorted(means, key=lambda other: -means[other])[:2]
    assert found.other[0].tolist() == nearest
    np.testing.assert_allclose(found.cosine[0], [means[other] for other in nearest])
    assert (found.se > 0).all()
    assert find_neighbours(similarity, labels, weights, 9).other.shape == (4, 3)
    assert find_neighbours(similarity, np.zeros(12, dtype=np.int64), weights, 3).other.shape == (1, 0)
