"""Matthews' correlation against scikit-learn, and its standard error against resampling."""

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from ontogeny.latents.agreement import compute_mcc, compute_mcc_error


def table(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.array(((a == x) & (b == y)).sum()) for x, y in ((1, 1), (1, 0), (0, 1), (0, 0)))


@pytest.mark.parametrize(("rate", "copy"), [(0.5, 0.5), (0.1, 0.8), (0.02, 0.3), (0.3, 0.0)])
def test_against_scikit_learn_and_resampling(rate: float, copy: float) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(3_000) < rate
    said = np.where(generator.random(3_000) < copy, truth, generator.random(3_000) < rate)
    counts = table(said, truth)
    assert compute_mcc(*counts) == pytest.approx(matthews_corrcoef(truth, said))
    drawn = generator.multinomial(3_000, np.array(counts) / 3_000, size=4_000).T
    assert compute_mcc_error(*counts) == pytest.approx(compute_mcc(*drawn).std(), rel=0.08)


def test_an_empty_margin_has_none() -> None:
    assert np.isnan(compute_mcc(*(np.array(each) for each in (0, 0, 5, 10))))
    assert np.isnan(compute_mcc_error(*(np.array(each) for each in (0, 0, 5, 10))))


def test_agreement_to_the_last_token_has_no_error() -> None:
    counts = tuple(np.array(each) for each in (7, 0, 0, 90))
    assert compute_mcc(*counts) == pytest.approx(1.0)
    assert compute_mcc_error(*counts) == pytest.approx(0.0, abs=1e-6)
