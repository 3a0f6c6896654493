"""Means of many groups at once against each group alone."""

import numpy as np

from ontogeny.latents.clusters import draw_weights, renumber, sum_clusters
from ontogeny.latents.group_means import GroupMeans


def test_groups_are_what_each_is_alone() -> None:
    rng = np.random.default_rng(0)
    values, groups, documents = rng.normal(size=(200, 3)), rng.integers(-1, 4, 200), 7 * rng.integers(0, 9, 200)
    means = GroupMeans.of(values.T, groups, documents, 5)
    numbered, n_documents = renumber(documents)
    weights = draw_weights(n_documents, 11, 0)
    for group in range(4):
        mine = groups == group
        alone = sum_clusters(values[mine], *renumber(documents[mine]))
        np.testing.assert_allclose(means.mean[group], alone.mean)
        np.testing.assert_allclose(means.se[group], alone.se)
        whole = sum_clusters(values[mine], numbered[mine], n_documents)
        np.testing.assert_allclose(means.draw_means(weights, 2)[:, group], whole.bootstrap(weights)[:, 2])
        np.testing.assert_allclose(means.draw_sizes(weights)[:, group], weights @ whole.size)
        assert means.n_tokens[group] == mine.sum() and means.spread[group] == len(np.unique(documents[mine]))
    # A group without tokens, and one in a single document.
    assert means.n_tokens[4] == 0 and np.isnan(means.mean[4]).all()
    single = GroupMeans.of(values[:3].T, np.zeros(3, np.int64), np.zeros(3, np.int64), 1)
    assert np.isnan(single.se).all() and np.isfinite(single.mean).all()
