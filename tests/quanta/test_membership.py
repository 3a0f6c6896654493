"""Soft membership: hard where clusters are apart, halves where a token lies between, rows that add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.quanta.membership import compute_membership
from ontogeny.quanta.planted import CosineLevels, plant_like


def test_clusters_that_share_nothing_are_hard() -> None:
    labels = np.repeat([0, 1, 2], [8, 6, 4])
    same = (labels[:, None] == labels[None]).astype(float)
    found = compute_membership(0.5 * same + 0.5 * np.eye(18), labels)
    assert (found.shares[np.arange(18), labels] > 0.99).all()
    assert found.explained == pytest.approx(1, abs=1e-3)
    assert found.monogenic().all() and not found.polygenic().any()
    np.testing.assert_allclose(found.n_effective, 1, atol=0.05)


def test_a_token_between_two_clusters_has_halves_whatever_its_label() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], [15, 15])
    centres = np.eye(2, 400)[labels]
    vectors = 0.8 * centres + 0.6 * draw.normal(size=(30, 400)) / 20
    vectors = np.vstack(
        [vectors, 0.8 * np.array([np.sqrt(0.5), np.sqrt(0.5), *[0] * 398]) + 0.03 * draw.normal(size=400)]
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = compute_membership(vectors @ vectors.T, np.append(labels, 0))
    np.testing.assert_allclose(found.shares[-1], 0.5, atol=0.1)
    assert found.polygenic(1.8)[-1] and not found.polygenic(1.8)[:-1].any()
    assert found.entropy[-1] == pytest.approx(np.log(2), abs=0.05)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 99), st.floats(0.05, 0.9))
def test_rows_add_up_and_order_does_not_matter(seed: int, within: float) -> None:
    planted = plant_like(np.array([12, 8, 5, 1]), CosineLevels(within, 0.0, 0.05), seed)
    found = compute_membership(planted.similarity, planted.labels)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)
    assert (found.shares >= 0).all() and (found.n_effective <= 4 + 1e-9).all()
    order = np.random.default_rng(seed).permutation(26)
    again = compute_membership(planted.similarity[np.ix_(order, order)], planted.labels[order])
    np.testing.assert_allclose(again.shares, found.shares[order], atol=1e-6)


def test_tokens_that_nothing_joins_keep_their_labels() -> None:
    found = compute_membership(np.eye(4), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found.shares, np.eye(2)[[0, 0, 1, 1]])
    assert found.explained == 0
