"""Wilson's interval against its defining equation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.latents.shares import wilson_interval


@given(st.integers(1, 1000), st.floats(0, 1))
def test_the_ends_solve_the_score_equation(of: int, part: float) -> None:
    n = round(part * of)
    low, high = wilson_interval(n, of)
    assert low is not None and high is not None and 0 <= low <= n / of <= high <= 1
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(n / of - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / of), abs=1e-9)


def test_no_members_no_interval() -> None:
    assert wilson_interval(0, 0) == (None, None)
