"""Loss curves of single tokens: closed forms, brute force, and the published column defect."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.errors import AnalysisError, NonFiniteError
from ontogeny.quanta.curves import (
    correlate_curves,
    find_solved,
    fit_power_law,
    fit_token_slopes,
    mark_monogenic,
)

STEPS = np.array([1.0, 2.0, 5.0, 9.0, 30.0])


@given(st.floats(-1, 1), st.floats(0.1, 10))
def test_a_power_law_is_found_exactly(exponent: float, constant: float) -> None:
    law = fit_power_law(STEPS, constant * STEPS**exponent)
    assert law.exponent == pytest.approx(exponent, abs=1e-9) and law.constant == pytest.approx(constant, rel=1e-9)
    assert law.exponent_se < 1e-6 and law.n == 5


def test_the_standard_error_is_that_of_least_squares() -> None:
    loss = 3 * STEPS**-0.3 * np.exp([0.1, -0.2, 0.05, 0.1, -0.05])
    law = fit_power_law(STEPS, loss)
    design = np.stack([np.ones(5), np.log(STEPS)], axis=1)
    found, rest, *_ = np.linalg.lstsq(design, np.log(loss), rcond=None)
    covariance = float(rest[0]) / 3 * np.linalg.inv(design.T @ design)
    assert law.exponent == pytest.approx(found[1]) and law.exponent_se == pytest.approx(np.sqrt(covariance[1, 1]))
    assert np.isnan(fit_power_law(STEPS[:2], loss[:2]).exponent_se)
    with pytest.raises(AnalysisError, match="two different points above 0 and there are 1"):
        fit_power_law(np.array([0.0, 2.0]), np.array([1.0, 2.0]))


def test_monogenic_tokens_are_high_before_and_low_from_then_on() -> None:
    losses = np.array(
        [
            [6.0, 7.0, 0.1, 0.2],
            [6.0, 7.0, 0.1, 0.4],  # rises above the lower threshold
            [6.0, 4.0, 0.1, 0.1],  # not high in all columns before
            [6.0, 6.0, 6.0, 0.2],
            [0.1, 0.1, 0.1, 0.1],  # never high
            [6.0, 6.0, 6.0, 6.0],  # never low
        ]
    )
    assert mark_monogenic(losses).tolist() == [2, 0, 0, 3, 0, 0]
    assert mark_monogenic(losses, high=3.5, low=0.5).tolist() == [2, 2, 2, 3, 0, 0]


def brute_monogenic(row: np.ndarray, high: float, low: float) -> int:
    found = [j for j in range(1, len(row)) if (row[:j] > high).all() and (row[j:] < low).all()]
    return found[0] if found else 0


@given(st.lists(st.sampled_from([0.1, 0.3, 1.0, 5.0, 6.0]), min_size=1, max_size=6))
def test_monogenic_tokens_as_defined(row: list[float]) -> None:
    losses = np.array([row])
    assert mark_monogenic(losses)[0] == brute_monogenic(losses[0], 5.0, 0.3)


def test_slopes_of_tokens_are_those_of_polyfit() -> None:
    draw = np.random.default_rng(0)
    losses = draw.normal(size=(20, 5)) + 3
    found = fit_token_slopes(losses, STEPS)
    for row in range(20):
        slope, start = np.polyfit(np.log(STEPS), losses[row], 1)
        rest = losses[row] - start - slope * np.log(STEPS)
        assert found.slope[row] == pytest.approx(slope)
        assert found.r2[row] == pytest.approx(1 - rest.var() / losses[row].var())
    straight = np.stack([5 - 0.4 * np.log(STEPS), 5 - 0.2 * np.log(STEPS), np.full(5, 2.0)])
    assert fit_token_slopes(straight, STEPS).polygenic().tolist() == [True, False, False]
    with pytest.raises(AnalysisError, match="three columns with x above 0, and there are 2"):
        fit_token_slopes(losses[:, :3], np.array([0.0, 1.0, 2.0]))


def test_solved_tokens_stay_or_do_not() -> None:
    losses = np.array([[1, 0.2, 0.2], [1, 0.2, 1], [0.1, 0.1, 0.1], [1, 1, 1], [0.1, 1, 0.1]], dtype=float)
    found = find_solved(losses)
    assert found.first.tolist() == [1, 1, 0, -1, 0]
    assert found.stays.tolist() == [True, False, True, False, False]


def test_curves_correlate_as_numpy_says() -> None:
    losses = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    np.testing.assert_allclose(correlate_curves(losses), np.corrcoef(losses.astype(np.float64)), atol=1e-6)
    losses[3] = 2.0
    with pytest.raises(NonFiniteError, match="loss of row 3 is the same"):
        correlate_curves(losses)
    with pytest.raises(NonFiniteError, match="canonical index 13 is the same"):
        correlate_curves(losses, np.arange(10, 17))
    with pytest.raises(AnalysisError, match="three snapshots and there are 2"):
        correlate_curves(losses[:, :2])
