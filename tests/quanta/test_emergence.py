"""When curves fall below thresholds: interpolation, censoring, forgetting, intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.quanta.emergence import axis_to_step, emergence_axis, find_emergence, halfway, summarise_draws

STEPS = [0, 1, 3, 7, 15]


def test_a_crossing_is_interpolated_on_log_steps() -> None:
    axis = emergence_axis(STEPS)
    found = find_emergence(np.array([[4.0, 3.0, 1.0, 1.0, 1.0]]), axis, 2.0)
    # Half way between steps 1 and 3 in log(1 + step): √(2 · 4) − 1.
    assert axis_to_step(STEPS, found.at)[0] == pytest.approx(np.sqrt(8) - 1)
    assert found.first.tolist() == [2] and found.censored.tolist() == [0]


def test_what_lies_outside_the_series_is_censored() -> None:
    curves = np.array([[1.0, 1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0, 3.0], [3.0, 1.0, 3.0, 1.0, 3.0]])
    found = find_emergence(curves, emergence_axis(STEPS), 2.0)
    assert found.censored.tolist() == [-1, 1, 0]
    assert found.forgotten.tolist() == [False, False, True] and found.relapses.tolist() == [0, 0, 2]
    alone = find_emergence(curves[:, :1], np.zeros(1), 2.0)
    assert alone.censored.tolist() == [-1, 1, 1]


def test_steps_that_are_not_known_are_places() -> None:
    axis = emergence_axis([None, 1, 2])
    assert axis.tolist() == [0, 1, 2]
    found = find_emergence(np.array([[3.0, 1.0, 1.0]]), axis, 2.0)
    assert axis_to_step([None, 1, 2], found.at).tolist() == [0.5]


@given(st.lists(st.floats(0, 10), min_size=5, max_size=5), st.floats(0.1, 9.9))
def test_the_crossing_lies_between_the_last_above_and_the_first_below(curve: list[float], threshold: float) -> None:
    losses, axis = np.array([curve]), emergence_axis(STEPS)
    found = find_emergence(losses, axis, threshold)
    below = losses[0] < threshold
    if below[0]:
        assert found.at[0] == -np.inf
    elif not below.any():
        assert found.at[0] == np.inf
    else:
        first = int(below.argmax())
        assert axis[first - 1] <= found.at[0] <= axis[first]


def test_half_of_a_fall_and_of_none() -> None:
    curves = np.array([[4.0, 3.0, 2.0], [1.0, 1.0, 1.0], [1.0, 0.5, 2.0]])
    assert halfway(curves).tolist() == [3.0, -np.inf, 0.75]
    assert halfway(curves, 0.25)[0] == 3.5
    found = find_emergence(curves, np.arange(3.0), halfway(curves))
    assert found.censored.tolist() == [0, 1, 0] and found.forgotten.tolist() == [False, False, True]


def test_intervals_keep_what_is_censored() -> None:
    draws = np.concatenate([np.full((10, 1), -np.inf), np.linspace(1, 2, 180)[:, None], np.full((10, 1), np.inf)])
    low, high = summarise_draws(draws, 0.95)
    assert low[0] == -np.inf and high[0] == np.inf
    low, high = summarise_draws(draws[10:-10], 0.9)
    assert 1 <= low[0] < 1.06 and 1.94 < high[0] <= 2
    low, high = summarise_draws(np.zeros((0, 2)))
    assert np.isneginf(low).all() and np.isposinf(high).all()
