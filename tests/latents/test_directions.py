"""Directions against closed forms and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.latents import directions
from ontogeny.latents.directions import (
    compute_cosines,
    compute_dimensionality,
    compute_turning_points,
    iter_blocks,
    least_turning_p,
    random_cosine_bound,
    random_dimensionality,
)


def at_angles(*degrees: float) -> torch.Tensor:
    """One latent whose sources lie at these angles in a plane of three dimensions."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=1)[None]


def test_cosines_have_no_scale_and_no_made_up_values() -> None:
    W_dec = torch.randn(3, 4, 5)
    scaled = W_dec * torch.rand(3, 4, 1).add(0.1)
    np.testing.assert_allclose(compute_cosines(W_dec), compute_cosines(scaled), atol=1e-6)
    W_dec[1, 2] = 0
    cosines = compute_cosines(W_dec)
    assert np.isnan(cosines[1, 2]).all() and np.isnan(cosines[1, :, 2]).all()
    assert np.isfinite(cosines[[0, 2]]).all()


def test_cosines_are_those_of_the_angles_between_sources() -> None:
    angles = np.array([0, 10, 10, 100])
    between = np.cos(np.radians(angles[:, None] - angles))
    np.testing.assert_allclose(compute_cosines(at_angles(*angles.tolist())), [between], atol=1e-12)


def test_a_planted_turn_is_found() -> None:
    cosines = compute_cosines(at_angles(0, 3, 1, 90, 92, 89, 91))
    points = compute_turning_points(cosines, np.ones((1, 7)), 3, permutations=199)
    assert points.place.tolist() == [3]
    assert points.explained[0] > 0.99
    assert abs(points.cosine[0]) < 0.03
    assert points.p_value[0] == pytest.approx(least_turning_p(7), abs=0.05)
    assert points.p_random[0] < 0.02


def test_the_least_p_is_the_share_of_orders_that_keep_the_sides() -> None:
    assert least_turning_p(6) == pytest.approx(2 * 36 / 720)
    assert least_turning_p(3) == pytest.approx(2 * 2 / 6)


def test_what_is_explained_is_the_share_of_scatter() -> None:
    units = torch.nn.functional.normalize(torch.randn(1, 6, 4, dtype=torch.float64), dim=-1)
    weight = np.array([[0.1, 1.0, 0.5, 2.0, 1.0, 0.3]])

    def scatter(places: list[int]) -> float:
        part, w = units[0, places].numpy(), weight[0, places]
        mean = (w[:, None] * part).sum(0) / w.sum()
        return float((w * ((part - mean) ** 2).sum(1)).sum())

    whole = scatter(list(range(6)))
    brute = [1 - (scatter(list(range(k))) + scatter(list(range(k, 6)))) / whole for k in range(1, 6)]
    points = compute_turning_points(compute_cosines(units), weight, 4, permutations=0)
    assert points.place[0] == 1 + int(np.argmax(brute))
    assert points.explained[0] == pytest.approx(max(brute))


def test_a_source_without_strength_has_no_say() -> None:
    turned = compute_cosines(at_angles(77, 0, 0, 0, 90, 90, 90))
    weight = np.array([[0.0, 1, 1, 1, 1, 1, 1]])
    assert compute_turning_points(turned, weight, 3, 9).place.tolist() == [4]
    none = compute_turning_points(turned, np.zeros((1, 7)), 3, 9)
    assert none.place.tolist() == [-1] and np.isnan(none.p_value).all()


def test_two_sources_have_no_turning_point() -> None:
    points = compute_turning_points(compute_cosines(at_angles(0, 90)), np.ones((1, 2)), 3)
    assert points.place.tolist() == [-1] and np.isnan(points.explained).all()


def test_random_directions_turn_no_more_often_than_chance() -> None:
    cosines = compute_cosines(torch.randn(400, 8, 64))
    points = compute_turning_points(cosines, np.ones((400, 8)), 64, permutations=39)
    for p_value in (points.p_value, points.p_random):
        assert (p_value <= 0.05).mean() < 0.12
        assert 0.4 < p_value.mean() < 0.6


def test_directions_that_never_move_have_no_scatter_to_explain() -> None:
    points = compute_turning_points(compute_cosines(at_angles(20, 20, 20, 20)), np.ones((1, 4)), 3, 9)
    assert points.explained[0] == 0.0 and points.p_value[0] == 1.0


@given(st.integers(2, 6), st.integers(1, 12), st.integers(0, 99))
def test_dimensionality_is_the_brute_force_ratio(d_model: int, n_latents: int, seed: int) -> None:
    vectors = torch.randn(n_latents, d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    units = vectors / vectors.norm(dim=1, keepdim=True)
    brute = vectors.square().sum(1) / (units @ vectors.T).square().sum(1)
    found = compute_dimensionality(vectors)
    np.testing.assert_allclose(found, brute.numpy(), rtol=1e-9)
    assert found.sum() <= d_model + 1e-9


def test_dimensionality_in_closed_form() -> None:
    vectors = torch.tensor([[2.0, 0, 0], [0, 3, 0], [0, 1.0, 0], [0, 0, 0]])
    found = compute_dimensionality(vectors)
    # Alone; nine tenths and one tenth of a shared direction; none for a latent of norm 0.
    np.testing.assert_allclose(found[:3], [1, 0.9, 0.1], rtol=1e-6)
    assert np.isnan(found[3])
    chosen = compute_dimensionality(vectors, np.array([True, False, True, False]))
    np.testing.assert_allclose(chosen[[0, 2]], [1, 1], rtol=1e-6)
    assert np.isnan(chosen[1])


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(23, 5)
    whole = compute_dimensionality(vectors)
    monkeypatch.setattr(directions, "BLOCK_NUMBERS", 20)
    assert [(block.start, block.stop) for block in iter_blocks(9, 5)] == [(0, 4), (4, 8), (8, 9)]
    np.testing.assert_allclose(compute_dimensionality(vectors), whole, rtol=1e-6)


def test_the_random_controls_are_what_random_directions_show() -> None:
    generator = np.random.default_rng(0)
    norms = generator.uniform(0.5, 2.0, 300)
    drawn = generator.normal(size=(300, 48))
    drawn *= (norms / np.linalg.norm(drawn, axis=1))[:, None]
    found = compute_dimensionality(torch.from_numpy(drawn))
    assert found.sum() == pytest.approx(random_dimensionality(norms, 48).sum(), rel=0.02)
    cosines = compute_cosines(torch.from_numpy(drawn.reshape(150, 2, 48)))[:, 0, 1]
    assert (np.abs(cosines) <= random_cosine_bound(48)).mean() == pytest.approx(0.95, abs=0.04)
    assert random_cosine_bound(1) == 1.0
    assert np.isnan(random_dimensionality(np.array([0.0, 1.0]), 4)).tolist() == [True, False]
