"""The time axis: log tokens where known, log2(1 + step) else, places where nothing is known."""

import numpy as np
import pytest

from ontogeny.latents.times import compute_time_axis, series_by_hook_point
from ontogeny.types import HookPoint, Snapshot, Source


def test_steps_alone_give_log2_of_one_plus_step() -> None:
    axis = compute_time_axis([0, 1, 7], [None, None, None])
    assert axis.name == "log2(1 + step)"
    np.testing.assert_allclose(axis.log, [0, 1, 3])
    assert axis.step_at(3.0) == 7.0
    assert axis.tokens_at(3.0) is None


def test_tokens_give_the_same_axis_and_both_clocks() -> None:
    axis = compute_time_axis([0, 1, 7], [0, 100, 700])
    np.testing.assert_allclose(axis.log, [0, 1, 3])
    assert axis.step_at(2.0) == pytest.approx(3.0)
    assert axis.tokens_at(2.0) == pytest.approx(300.0)


def test_tokens_without_steps_count_from_the_first_text_read() -> None:
    axis = compute_time_axis([None, None, None], [0, 50, 350])
    np.testing.assert_allclose(axis.log, [0, 1, 3])
    assert axis.step_at(3.0) is None
    assert axis.tokens_at(3.0) == pytest.approx(350.0)


def test_an_interpolated_place_is_log_tokens_beyond_a_few_steps() -> None:
    axis = compute_time_axis([512, 1000], [512 * 2_097_152, 1000 * 2_097_152])
    middle = axis.step_at(float(axis.log.mean()))
    assert middle == pytest.approx(np.sqrt(512 * 1000), rel=1e-3)


@pytest.mark.parametrize("steps", [[None, 3], [None, None], [0, 0]])
def test_without_clocks_time_is_the_place_in_the_series(steps: list[int | None]) -> None:
    axis = compute_time_axis(steps, [None, None])
    assert axis.name == "index" and not axis.is_training_time
    np.testing.assert_array_equal(axis.log, [0.0, 1.0])
    assert axis.step_at(0.5) is None and axis.tokens_at(0.5) is None


def test_a_series_per_hook_point_in_order_of_training() -> None:
    def source(step: int | None, point: str) -> Source:
        return Source(Snapshot("m", step=step, label=f"step{step}"), HookPoint.parse(point))

    sources = [source(9, "resid_post.0"), source(9, "resid_post.1"), source(1, "resid_post.0")]
    assert series_by_hook_point(sources) == {"resid_post.0": [2, 0], "resid_post.1": [1]}
    unknown = [source(None, "embed"), source(3, "embed")]
    assert series_by_hook_point(unknown) == {"embed": [0, 1]}
