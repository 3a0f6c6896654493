"""Stability: Jaccard by hand, chance beside it, and what a draw of documents does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ontogeny.quanta.methods import cluster_tokens, make_clusterer
from ontogeny.quanta.planted import CosineLevels, plant_like, plant_sizes
from ontogeny.quanta.stability import bootstrap_stability, compare_snapshots, count_shared, match_clusters

LEVELS = CosineLevels(within=0.4, between=0.0, spread=0.03)


def test_jaccard_of_the_best_match_by_hand() -> None:
    match = match_clusters(np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0]), n_clusters=4)
    np.testing.assert_allclose(match.jaccard, [2 / 3, 2 / 4, 1 / 4, np.nan])
    assert match.best.tolist() == [1, 0, 0, -1]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 6))
def test_matches_are_sets_and_do_not_know_numbers(seed: int, n_first: int, n_second: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.integers(n_first, size=40), draw.integers(n_second, size=40)
    match = match_clusters(first, second, n_first)
    for cluster in range(n_first):
        mine = set(np.flatnonzero(first == cluster))
        others = [set(np.flatnonzero(second == other)) for other in range(n_second)]
        best = max(len(mine & other) / max(len(mine | other), 1) for other in others) if mine else np.nan
        np.testing.assert_allclose(match.jaccard[cluster], best)
    renamed = draw.permutation(n_second)[second]
    np.testing.assert_allclose(match_clusters(first, renamed, n_first).jaccard, match.jaccard)
    assert count_shared(first, second).sum() == 40


@pytest.mark.parametrize("method", ["regularised", "linkage"])
def test_planted_clusters_are_stable_and_shuffled_ones_are_not(method: str) -> None:
    sizes = np.array([40, 30, 20, 10])
    planted = plant_like(sizes, LEVELS)
    clusterer = make_clusterer(method, n_init=3)  # type: ignore[arg-type]
    labels = clusterer(planted.similarity, [4])[4]
    found = bootstrap_stability(planted.similarity, labels, clusterer, n_draws=6)
    assert (found.jaccard > 0.9).all() and (found.ari > 0.9).all()
    assert (found.jaccard > found.chance + 0.3).all()
    assert found.n_draws.tolist() == [6, 6, 6, 6] and (found.se < 0.1).all()
    shuffled = np.random.default_rng(0).permutation(labels)
    nothing = bootstrap_stability(planted.similarity, shuffled, clusterer, n_draws=6)
    assert (nothing.jaccard < 0.5).all() and abs(float(nothing.ari.mean())) < 0.1


def test_a_cluster_of_one_document_is_in_few_draws() -> None:
    planted = plant_like(np.array([30, 30, 4]), LEVELS)
    documents = np.where(planted.labels == 2, 0, 1 + np.arange(64))
    found = bootstrap_stability(
        planted.similarity, planted.labels, make_clusterer("linkage"), n_draws=10, groups=documents
    )
    assert 0 < found.n_draws[2] < 10 and found.n_draws[0] == 10
    once = bootstrap_stability(planted.similarity, planted.labels, make_clusterer("linkage"), n_draws=1)
    assert np.isnan(once.se).all()


def test_snapshots_against_the_last() -> None:
    last = np.repeat([0, 1, 2], 20)
    merged = np.minimum(last, 1)
    noise = np.random.default_rng(0).permutation(last)
    found = compare_snapshots(np.stack([noise, merged, last]))
    np.testing.assert_allclose(found.jaccard[2], 1)
    np.testing.assert_allclose(found.jaccard[1], [1, 0.5, 0.5])
    assert found.best[1].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found.ari, [adjusted_rand_score(last, each) for each in (noise, merged, last)])
    assert (np.abs(found.jaccard[0] - found.chance[0]) < 0.2).all()


def test_one_decomposition_labels_all_numbers() -> None:
    planted = plant_like(plant_sizes(120, 8, 1.0), LEVELS)
    for method in ("regularised", "angular", "linkage"):
        together = cluster_tokens(planted.similarity, [3, 8], method, n_init=3)  # type: ignore[arg-type]
        assert list(together) == [3, 8] and [len(np.unique(each)) for each in together.values()] == [3, 8]
