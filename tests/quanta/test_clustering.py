"""Affinities and clusters: published labels, a planted truth, one decomposition against many."""

import numpy as np
import pytest
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from ontogeny.errors import AnalysisError
from ontogeny.quanta.affinity import compute_angular_affinity, compute_regularised_affinity
from ontogeny.quanta.clustering import compute_cohesion, embed_affinity, link_tokens, number_by_size
from paths import requires_shared
from quanta.golden_quanta import golden_case


def planted(n: int = 300, n_clusters: int = 12, cosine: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around orthogonal centres, cluster sizes falling with their rank."""
    draw = np.random.default_rng(0)
    share = np.arange(1, n_clusters + 1) ** -1.24
    truth = np.sort(draw.choice(n_clusters, n, p=share / share.sum()))
    noise = draw.normal(size=(n, 2000)) / np.sqrt(2000)
    vectors = np.sqrt(cosine) * np.eye(n_clusters, 2000)[truth] + np.sqrt(1 - cosine) * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T, truth


def test_orthogonal_gradients_are_half_joined_by_one_affinity_and_evenly_by_the_other() -> None:
    similarity = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.5], [-1.0, 0.5, 1.0]])
    np.testing.assert_allclose(compute_angular_affinity(similarity)[0], [1, 0.5, 0])
    clean = compute_regularised_affinity(similarity, background=0.0)
    np.testing.assert_allclose(clean, [[1, 0, 0], [0, 1, 1 / 3], [0, 1 / 3, 1]], atol=1e-12)
    np.testing.assert_allclose(compute_regularised_affinity(similarity, 0.5), clean + 0.5 * clean.mean())


def test_planted_clusters_are_found_by_the_regularised_affinity_and_by_linkage() -> None:
    similarity, truth = planted()
    embedding = embed_affinity(compute_regularised_affinity(similarity), 20)
    assert adjusted_rand_score(truth, embedding.labels(12)) >= 0.9
    assert adjusted_rand_score(truth, link_tokens(similarity).labels(12)) >= 0.9
    sizes = np.bincount(embedding.labels(12))
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_allclose(compute_cohesion(similarity, truth)[:3], 0.4, atol=0.05)


@pytest.mark.parametrize("n_clusters", [3, 8])
def test_one_decomposition_gives_what_each_number_alone_gives(n_clusters: int) -> None:
    affinity = compute_regularised_affinity(planted(n=120, n_clusters=8)[0])
    ours = embed_affinity(affinity, 20).labels(n_clusters)
    alone = embed_affinity(affinity, n_clusters).labels(n_clusters)
    assert np.array_equal(ours, alone)
    sklearn = SpectralClustering(n_clusters, affinity="precomputed", n_init=30, random_state=0).fit_predict(affinity)
    assert adjusted_rand_score(ours, sklearn) >= 0.95


def test_eigenvalues_are_of_the_normalised_affinity_and_tokens_alone_are_components() -> None:
    affinity = np.array([[1.0, 0.5, 0, 0, 0], [0.5, 1, 0, 0, 0], [0, 0, 1, 0.2, 0], [0, 0, 0.2, 1, 0], [0, 0, 0, 0, 1]])
    embedding = embed_affinity(affinity, 4)
    np.testing.assert_allclose(embedding.eigenvalues, [1, 1, 1, -1], atol=1e-12)


def test_as_many_clusters_as_tokens_are_refused() -> None:
    similarity, _ = planted(n=30, n_clusters=3)
    with pytest.raises(AnalysisError, match="30 clusters cannot be made of 30 tokens"):
        embed_affinity(similarity, 30)
    with pytest.raises(AnalysisError, match="31 clusters cannot be made of 30 tokens"):
        link_tokens(similarity).labels(31)
    with pytest.raises(AnalysisError, match="5 clusters were asked for and 4 eigenvectors are there"):
        embed_affinity(compute_angular_affinity(similarity), 4).labels(5)


def test_numbers_by_size_and_cohesion_of_one() -> None:
    assert number_by_size(np.array([7, 3, 3, 9, 9, 9])).tolist() == [2, 1, 1, 0, 0, 0]
    cohesion = compute_cohesion(np.array([[1.0, 0.2, 0], [0.2, 1, 0], [0, 0, 1]]), np.array([0, 0, 1]))
    np.testing.assert_allclose(cohesion, [0.2, np.nan])


@requires_shared
@pytest.mark.parametrize(("run", "n_clusters"), [("A", 5), ("A", 8), ("B", 4)])
def test_the_published_affinities_and_labels(run: str, n_clusters: int) -> None:
    _, tensors = golden_case()
    affinity = compute_angular_affinity(tensors[f"{run}.similarity"].numpy())
    np.testing.assert_allclose(affinity, tensors[f"{run}.affinity"].numpy(), atol=1e-6)
    published = tensors[f"{run}.labels_k{n_clusters}"].numpy()
    assert adjusted_rand_score(published, embed_affinity(affinity, 12).labels(n_clusters)) == 1.0
