import numpy as np

from ontogeny.latents.betas import compute_block_ratio, compute_t


def test_the_standard_error_is_what_repetition_shows() -> None:
    """The mean standard error of many repetitions is the spread of the ratios."""
    rng = np.random.default_rng(0)
    below = rng.uniform(1, 3, size=(4000, 32, 1))
    above = 0.3 * below + rng.normal(0, 0.5, size=(4000, 32, 1))
    ratio = compute_block_ratio(above, below)
    assert abs(ratio.value.mean() - 0.3) < 0.005
    assert abs(ratio.se.mean() / ratio.value.std() - 1) < 0.05


def test_t_of_a_true_null_follows_students_t() -> None:
    rng = np.random.default_rng(1)
    square = rng.uniform(1, 3, size=(8000, 32, 1))
    t = compute_t(rng.normal(0, 1, size=(8000, 32, 1)), square)
    assert 0.035 < (np.abs(t) > 2.04).mean() < 0.065  # 5 % of Student's t with 31 degrees of freedom


def test_one_block_has_no_standard_error_and_none_no_ratio() -> None:
    below = np.zeros((2, 4, 1))
    below[0, 1] = 2.0
    ratio = compute_block_ratio(0.5 * below, below)
    assert ratio.value[0, 0] == 0.5
    assert np.isnan(ratio.se[0, 0]) and np.isnan(ratio.value[1, 0]) and np.isnan(ratio.se[1, 0])
    assert np.isnan(compute_t(below, below)).all()


def test_a_reference_is_one_of_itself_without_error() -> None:
    rng = np.random.default_rng(2)
    sums = rng.normal(size=(3, 8, 1))
    ratio = compute_block_ratio(sums, sums)
    np.testing.assert_allclose(ratio.value, 1.0)
    np.testing.assert_allclose(ratio.se, 0.0, atol=1e-12)
