"""Do two things emerge together: by hand, with shuffled pairs beside it."""

import numpy as np
import pytest

from ontogeny.latents.joint_emergence import compare_times


def test_times_that_go_together_are_nearer_than_shuffled_ones() -> None:
    draw = np.random.default_rng(0)
    second = draw.uniform(0, 10, 40)
    found = compare_times(second + 0.5 + draw.normal(0, 0.2, 40), second)
    assert found.difference == pytest.approx(0.5, abs=0.1) and found.low < 0.5 < found.high
    assert found.distance < 1 < found.shuffled_low < found.shuffled_distance < found.shuffled_high
    assert found.distance_p < 0.01 and found.spearman > 0.95 and found.spearman_p < 0.01


def test_times_that_have_nothing_to_do_with_each_other_are_as_far_as_shuffled_ones() -> None:
    draw = np.random.default_rng(1)
    found = compare_times(draw.uniform(0, 10, 60), draw.uniform(0, 10, 60))
    assert found.distance_p > 0.05 and found.spearman_p > 0.05
    assert found.shuffled_low < found.distance < found.shuffled_high


def test_two_pairs_say_nothing_and_equal_times_have_no_rank() -> None:
    assert np.isnan(compare_times(np.ones(2), np.ones(2)).difference)
    equal = compare_times(np.ones(5), np.arange(5.0))
    assert np.isnan(equal.spearman) and equal.difference == pytest.approx(-1.0)
