"""When an estimate is called poor."""

import numpy as np
import pytest

from ontogeny.latents.quality import compute_quality

ESTIMATE = np.array([1.0, 2, 3, 4])


def test_an_estimate_is_judged_by_correlation_and_gap() -> None:
    quality = compute_quality(ESTIMATE, 2 * ESTIMATE, 0.1)
    assert quality.r == pytest.approx(1) and quality.slope == pytest.approx(2) and not quality.poor
    assert compute_quality(ESTIMATE, 2 * ESTIMATE, 0.3).poor
    assert not compute_quality(ESTIMATE, 2 * ESTIMATE, 0.3, path_is_estimated=False).poor
    assert compute_quality(ESTIMATE, np.array([1.0, -1, 1, -1]), 0.0).poor


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_candidates_say_nothing(n: int) -> None:
    quality = compute_quality(ESTIMATE[:n], ESTIMATE[:n], 0.0)
    assert np.isnan(quality.r) and np.isnan(quality.slope) and not quality.poor
