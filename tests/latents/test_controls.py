"""Matched draws against a brute force over all free candidates, and what they promise of any values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.latents.controls import draw_matched


def draw_by_force(reference: np.ndarray, values: np.ndarray, nearest: int, seed: int, itself: bool) -> list[int]:
    """Every free candidate's distance in order of value, sorted anew for each of the reference."""
    draw, place = np.random.default_rng(seed), np.argsort(np.argsort(values, kind="stable"), kind="stable")
    free, drawn = set(range(len(values))), []
    for own in reference.tolist():
        near = sorted(
            free - (set() if itself else {own}), key=lambda each: (abs(place[each] - place[own]), place[each])
        )
        if not near:
            break
        drawn.append(int(draw.choice(near[:nearest])))
        free.remove(drawn[-1])
    return drawn


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(0, 99),
    st.booleans(),
    st.data(),
)
def test_it_draws_what_a_search_through_all_free_ones_draws(
    values: list[int], nearest: int, seed: int, itself: bool, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(values))))
    reference = np.array(order[: data.draw(st.integers(0, len(values)))], dtype=np.int64)
    sizes = np.array(values, dtype=np.float64)
    drawn = draw_matched(reference, sizes, nearest, seed, itself)
    assert drawn.tolist() == draw_by_force(reference, sizes, nearest, seed, itself)
    assert len(np.unique(drawn)) == len(drawn)
    assert itself or not (drawn == reference[: len(drawn)]).any()
    assert np.array_equal(draw_matched(reference, 2 * sizes + 1, nearest, seed, itself), drawn), "no unit matters"


def test_all_may_stand_for_all_and_none_for_nothing() -> None:
    everyone, values = np.arange(50), np.random.default_rng(0).random(50)
    assert sorted(draw_matched(everyone, values, 10, 3, itself=True).tolist()) == everyone.tolist()
    assert draw_matched(np.zeros(0, np.int64), np.zeros(0), 10, 3, itself=True).tolist() == []
    assert draw_matched(np.array([0]), np.array([1.0]), 5, 3, itself=False).tolist() == []


@pytest.mark.parametrize("itself", [True, False])
def test_each_of_the_nearest_is_drawn_alike(itself: bool) -> None:
    drawn = [int(draw_matched(np.array([50]), np.arange(101.0), 4, seed, itself)[0]) for seed in range(2_000)]
    counts = dict(zip(*(each.tolist() for each in np.unique(drawn, return_counts=True)), strict=True))
    assert set(counts) == ({48, 49, 50, 51} if itself else {48, 49, 51, 52})
    assert all(abs(count - 500) < 5 * np.sqrt(500 * 0.75) for count in counts.values())
