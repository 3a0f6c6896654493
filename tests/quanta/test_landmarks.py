"""Planted clusters are found again by landmarks of other documents; shuffled ones are not."""

import numpy as np
import pytest

from ontogeny.errors import AnalysisError
from ontogeny.quanta.assignment import Assignment
from ontogeny.quanta.landmarks import Rule, hold_out, make_scores
from ontogeny.quanta.sections_config import QuantaConfig

RULES: list[tuple[Rule, str]] = [
    ("mean", "linkage"),
    ("mean", "angular"),
    ("embedding", "regularised"),
    ("embedding", "angular"),
]


def planted(noise: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines of 90 tokens in three clusters, and of 30 tokens of none with them."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    vectors = 4 * np.eye(3, 24)[labels] + noise * rng.normal(size=(90, 24))
    strange = rng.normal(size=(30, 24)) * (np.arange(24) > 2)
    vectors, strange = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, strange))
    return vectors @ vectors.T, strange @ vectors.T, labels


@pytest.mark.parametrize(("rule", "method"), RULES)
def test_planted_clusters_come_back_and_shuffled_ones_do_not(rule: Rule, method: str) -> None:
    similarity, strange, labels = planted()
    config, documents = QuantaConfig(method=method), np.arange(90) % 12  # type: ignore[arg-type]
    back = hold_out(rule, similarity, labels, documents, config)
    assert back.right.mean() > 0.95
    mixed = np.random.default_rng(0).permutation(labels)
    assert hold_out(rule, similarity, mixed, documents, config).right.mean() < 0.5
    bounds = back.fit_bounds(None, None, 0.95, 0.9)
    assert 0.85 < bounds.passed(back.found).mean() <= 1
    scores = make_scores(rule, similarity, labels, config)
    assert not bounds.passed(Assignment.of(np.arange(30), scores, strange)).any()


def test_a_fold_is_scored_by_the_others_alone() -> None:
    similarity, _, labels = planted()
    documents = np.arange(90) % 2
    back = hold_out("mean", similarity, labels, documents, QuantaConfig(), n_folds=2)
    for inside in (documents == 0, documents == 1):
        by_hand = np.stack(
            [similarity[inside][:, ~inside & (labels == each)].mean(axis=1) for each in range(3)], axis=1
        )
        np.testing.assert_allclose(back.cosines[inside], by_hand)
        np.testing.assert_array_equal(back.found.labels[inside], by_hand.argmax(axis=1))
        np.testing.assert_allclose(back.found.scores[inside], by_hand.max(axis=1))


def test_a_cluster_of_one_fold_cannot_come_back() -> None:
    similarity, _, labels = planted()
    documents = np.where(labels == 2, 0, 1 + np.arange(90) % 5)
    back = hold_out("mean", similarity, labels, documents, QuantaConfig())
    assert not back.right[labels == 2].any() and back.right[labels < 2].all()
    bounds = back.fit_bounds(None, 0.0, 0.95, 0.9)
    assert np.isinf(bounds.cosine[2]) and np.isfinite(bounds.cosine[:2]).all()


def test_bounds_that_are_given_are_taken() -> None:
    similarity, _, labels = planted()
    back = hold_out("mean", similarity, labels, np.arange(90), QuantaConfig())
    bounds = back.fit_bounds(0.3, 0.2, 0.95, 0.9)
    assert bounds.cosine.tolist() == [0.3] * 3 and bounds.margin == 0.2
    mixed = hold_out("mean", similarity, np.random.default_rng(1).permutation(labels), np.arange(90), QuantaConfig())
    assert mixed.fit_bounds(-1.0, None, 0.95, 0.99).margin == np.inf


def test_what_cannot_be_held_out_is_said() -> None:
    similarity, _, labels = planted()
    with pytest.raises(AnalysisError, match="all landmarks lie in one document"):
        hold_out("mean", similarity, labels, np.zeros(90, np.int64), QuantaConfig())
    with pytest.raises(AnalysisError, match="have 1 clusters"):
        hold_out("mean", similarity[:60, :60], labels[:60], labels[:60], QuantaConfig())
    with pytest.raises(AnalysisError, match=r'quanta.method is "linkage"'):
        make_scores("embedding", similarity, labels, QuantaConfig(method="linkage"))
