"""RelIE: shares, shapes over training, classes, and how often a draw gives each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ontogeny.latents.relie import (
    CLASSES,
    class_probabilities,
    compute_half_life,
    compute_legacy_pairs,
    compute_legacy_shares,
    compute_relative_effects,
    compute_size,
    legacy_classes,
)

TIME = np.array([0.0, 2.0, 4.0, 8.0])


def relative(rows: list[list[float]], se: float = 0.0, significant: bool = True) -> object:
    effect = np.array(rows, dtype=float)
    return compute_relative_effects(
        effect, np.full_like(effect, se), np.full(effect.shape, significant), TIME[: effect.shape[1]]
    )


@given(arrays(np.float64, (5, 4), elements=st.floats(-3, 3)), st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_shares_add_up_and_the_effective_number_lies_between_one_and_all(effect: np.ndarray, se: float) -> None:
    found = compute_relative_effects(effect, np.full_like(effect, se), np.ones(effect.shape, dtype=bool), TIME)
    causal = ~np.isnan(found.share).any(axis=1)
    assert np.allclose(found.share[causal].sum(axis=1), 1)
    assert ((found.n_effective[causal] >= 1 - 1e-9) & (found.n_effective[causal] <= 4 + 1e-9)).all()
    assert ((found.support[causal] >= 1) & (found.support[causal] <= 4)).all()
    assert (np.array(found.classes)[~causal] == "non-causal").all() and (found.peak[~causal] == -1).all()


def test_nothing_significant_is_missing_and_never_a_half() -> None:
    found = relative([[1, 2, 3, 4]], significant=False)
    assert np.isnan(found.share).all() and np.isnan(found.n_effective).all() and found.classes == ["non-causal"]


def test_the_size_is_scaled_by_the_total_and_noise_is_taken_off() -> None:
    size = compute_size(np.array([[3.0, -5.0, 0.5]]), np.array([[0.0, 3.0, 1.0]]), np.array([2.0, -4.0, 0.0]))
    assert np.allclose(size, [[1.5, 1.0, 0.0]])
    draw = np.random.default_rng(0)
    noisy = draw.normal(size=(20_000, 1)) * 0.5 + 1.0
    square = np.square(noisy) - 0.25
    assert np.isclose(square.mean(), 1.0, atol=0.03), "what is taken off makes the square unbiased"


def test_half_life_is_interpolated_and_censored_at_the_end() -> None:
    size = np.array([[0, 4, 4, 0], [0, 4, 3, 3], [4, 3, 1, 0]], dtype=float)
    life, censored = compute_half_life(size, TIME)
    assert np.allclose(life, [4.0, 6.0, 3.0]) and censored.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("effect", "kind"),
    [
        ([4, 4, 3, 4], "maintained"),
        ([4, -4, 3, 4], "sign-reversing"),
        ([0, 0, 0, 4], "late-specific"),
        ([4, 4, 1, 0], "discontinued"),
        ([0, 1, 3, 4], "emerging"),
        ([0, 4, 3, 0], "transient"),
        ([4, 1, 1, 4], "interrupted"),
        ([0, 0, 0, 0], "non-causal"),
    ],
)
def test_classes(effect: list[float], kind: str) -> None:
    assert relative([effect]).classes == [kind]
    assert kind in CLASSES


def test_peak_rise_support_and_centre() -> None:
    found = relative([[0, 1, 8, 1]])
    assert found.peak.tolist() == [2] and found.support.tolist() == [2]
    assert np.isclose(found.half_rise[0], 2 + 2 * 3 / 7)
    assert np.isclose(found.centre[0], (2 + 32 + 8) / 10)


def test_probabilities_are_shares_of_draws_and_a_clear_case_is_certain() -> None:
    draw = np.random.default_rng(2)
    effect, se = np.array([[0.0, 0, 0, 5], [1, 1, 1, 1]]), np.full((2, 4), 0.1)
    draws = effect + 0.1 * draw.normal(size=(200, 2, 4))
    significant = np.array([[False, False, False, True], [True] * 4])
    chances, shares, rises = class_probabilities(draws, se, significant, TIME)
    assert np.allclose(chances.sum(axis=1), 1)
    assert chances[0, CLASSES.index("late-specific")] == 1 and chances[1, CLASSES.index("maintained")] == 1
    assert shares.shape == (200, 2, 4) and rises.shape == (200, 2)
    assert np.isclose(np.median(shares[:, 1, 0]), 0.25, atol=0.01)


def test_the_published_shares_give_a_half_everywhere_where_nothing_is() -> None:
    effect = np.array([[0.0, 1, 0], [0, 3, 0], [0, 0, 2]])
    assert compute_legacy_shares(effect).T.tolist() == [[0.5] * 3, [0.25, 0.75, 0], [0, 0, 1]]
    pairs = compute_legacy_pairs(effect)
    assert pairs[:, 0].tolist() == [0.5] * 3 and pairs[:, 1].tolist() == [0.75, 0.0, 0.0]
    assert np.isnan(pairs[0, 2])
    assert legacy_classes(compute_legacy_shares(effect), ("A", "B", "C"))[1:] == ["B dominant", "C dominant"]
