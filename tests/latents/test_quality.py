"""When an estimate is called poor."""

import numpy as np
import pytest

from ontogeny.latents.quality import compute_quality, name_poor

ESTIMATE = np.array([1.0, 2, 3, 4])


def test_an_estimate_is_judged_by_correlation_slope_and_gap() -> None:
    quality = compute_quality(ESTIMATE, 2 * ESTIMATE, 0.1)
    assert quality.r == pytest.approx(1) and quality.slope == pytest.approx(2) and not quality.poor
    assert compute_quality(ESTIMATE, 2 * ESTIMATE, 0.3).poor
    assert not compute_quality(ESTIMATE, 2 * ESTIMATE, 0.3, path_is_estimated=False).poor
    assert compute_quality(ESTIMATE, np.array([1.0, -1, 1, -1]), 0.0).poor


@pytest.mark.parametrize(("factor", "slopes", "faults"), [
    (0.4, (0.5, 2.0), ("slope 0.40",)),
    (2.5, (0.5, 2.0), ("slope 2.50",)),
    (2.5, (0.5, 3.0), ()),
    (0.8, (0.9, 1.1), ("slope 0.80",)),
    (-1.0, (0.5, 2.0), ("r -1.00", "slope -1.00")),
])  # fmt: skip
def test_a_slope_far_from_one_is_poor_however_well_it_correlates(
    factor: float, slopes: tuple[float, float], faults: tuple[str, ...]
) -> None:
    assert compute_quality(ESTIMATE, factor * ESTIMATE, 0.0, slopes=slopes).faults == faults


def test_one_line_names_what_is_poor_and_only_that() -> None:
    good, steep = (compute_quality(ESTIMATE, factor * ESTIMATE, 0.0) for factor in (1, 3))
    open_ended = compute_quality(ESTIMATE, 0.3 * ESTIMATE, 0.51)
    assert not good.poor and name_poor([]) == []
    (line,) = name_poor([("verbs", "step8", steep), ("nouns", "step8", open_ended), ("verbs", "step64", open_ended)])
    assert line == (
        "Poor estimates: verbs in step8 (slope 3.00), step64 (slope 0.30, gap 0.51); "
        "nouns in step8 (slope 0.30, gap 0.51)."
    )


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_candidates_say_nothing(n: int) -> None:
    quality = compute_quality(ESTIMATE[:n], ESTIMATE[:n], 0.0)
    assert np.isnan(quality.r) and np.isnan(quality.slope) and not quality.poor
