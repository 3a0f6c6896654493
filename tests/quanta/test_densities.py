"""p(L): a histogram, with the error of a ratio over documents."""

import numpy as np

from ontogeny.latents.clusters import sum_clusters
from ontogeny.quanta.densities import compute_density


def test_the_density_is_a_histogram_and_its_error_cochrans() -> None:
    draw = np.random.default_rng(0)
    losses, documents = draw.exponential(2, 400), draw.integers(0, 30, 400)
    edges = np.linspace(0, 5, 11)
    found = compute_density(losses, documents, edges)
    n, _ = np.histogram(losses, edges)
    np.testing.assert_array_equal(found.n, n)
    np.testing.assert_allclose(found.density, n / 400 / 0.5)
    inside = (losses[:, None] >= edges[:-1]) & (losses[:, None] < edges[1:])
    np.testing.assert_allclose(found.se, sum_clusters(inside.astype(float), documents, 30).se / 0.5)
    np.testing.assert_allclose(found.mean[0], losses[inside[:, 0]].mean())
    middle = (edges[:-1] + edges[1:]) / 2
    np.testing.assert_allclose(found.contribution, middle * found.density)


def test_empty_bins_and_one_document() -> None:
    found = compute_density(np.array([0.5, 0.6]), np.zeros(2, dtype=np.int64), np.array([0.0, 1.0, 2.0]))
    assert found.n.tolist() == [2, 0] and np.isnan(found.se).all() and np.isnan(found.mean[1])
