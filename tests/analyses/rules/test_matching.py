"""Matching units with targets: MCC by hand and by correlation, thresholds that do not peep, one unit a rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.analyses.rules.matching import Units, assign_units, compute_mcc, match_units


def phi(prediction: np.ndarray, target: np.ndarray) -> float:
    if prediction.all() or target.all() or not prediction.any() or not target.any():
        return 0.0
    return float(np.corrcoef(prediction, target)[0, 1])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_the_mcc_is_the_correlation_of_two_indicators(pairs: list[tuple[bool, bool]]) -> None:
    prediction, target = np.array(pairs).T
    hits, predicted = np.array([float((prediction & target).sum())]), np.array([float(prediction.sum())])
    assert compute_mcc(hits, predicted, float(target.sum()), len(pairs))[0] == pytest.approx(
        phi(prediction, target), abs=1e-9
    )


def test_a_latent_that_fires_on_a_target_is_found_with_its_threshold_and_noise_is_not() -> None:
    draw = np.random.default_rng(0)
    n = 4000
    target = draw.random(n) < 0.05
    half = draw.random(n) < 0.5
    exact = np.where(target, 3.0, 0.0)  # silent elsewhere
    loud = np.where(target, 5.0, draw.random(n))  # fires everywhere, louder on the target
    noise = draw.random((n, 30)) * (draw.random((n, 30)) < 0.05)
    dense = np.column_stack([exact, loud, noise])
    token, unit = np.nonzero(dense)
    units = Units(unit, token, dense[token, unit], dense.shape[1], n)
    chosen, measured = match_units(units, target[None], half)
    np.testing.assert_allclose(measured[0, 0], 1.0)
    assert measured[0, 1] > 0.95
    assert np.abs(measured[0, 2:]).max() < 0.12 and chosen[0, 2:].max() > measured[0, 2:].mean()


def test_dense_units_may_say_yes_by_being_small() -> None:
    draw = np.random.default_rng(1)
    target = draw.random(2000) < 0.1
    values = np.column_stack([draw.normal(size=2000) - 6 * target, draw.normal(size=2000) + 6 * target])
    half = draw.random(2000) < 0.5
    _, signed = match_units(Units.from_dense(values), target[None], half)
    _, unsigned = match_units(Units.from_dense(values, signed=False), target[None], half)
    assert signed.min() > 0.85 and unsigned[0, 1] > 0.9 and unsigned[0, 0] < 0.5


def test_every_threshold_is_scored_as_counting_it_by_hand() -> None:
    draw = np.random.default_rng(2)
    values = np.maximum(draw.normal(size=(300, 3)), 0).round(1)
    targets = draw.random((2, 300)) < 0.3
    half = np.arange(300) % 2 == 0
    token, unit = np.nonzero(values)
    chosen, measured = match_units(Units(unit, token, values[token, unit], 3, 300), targets, half)
    for number, target in enumerate(targets):
        for unit in range(3):
            column = values[:, unit]
            levels = np.unique(column[half & (column > 0)])
            by_hand = [phi(column[half] >= level, target[half]) for level in levels]
            assert chosen[number, unit] <= max(by_hand) + 1e-9
            assert chosen[number, unit] == pytest.approx(max(by_hand), abs=0.06)
            assert any(
                abs(phi(column[~half] >= level, target[~half]) - measured[number, unit]) < 1e-9 for level in levels
            )


def test_labels_are_predictors_that_need_no_model() -> None:
    labels = np.array([2, 0, 2, -1, 1, 2, 0, 2])
    half = np.array([True, True, True, True, False, False, False, False])
    _, measured = match_units(Units.from_labels(labels), (labels == 2)[None], half)
    assert measured[0].argmax() == 2 and measured[0, 2] == 1.0


def test_no_unit_is_given_to_two_rules() -> None:
    scores = np.array([[0.9, 0.8, 0.0], [0.95, 0.1, 0.0]])
    assert assign_units(scores).tolist() == [1, 0]
    assert sorted(assign_units(np.ones((3, 2)))) == [-1, 0, 1]
