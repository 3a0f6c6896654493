"""The envelope and its slope: by hand, on exact power laws, and with its planted control."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.errors import AnalysisError
from ontogeny.quanta.envelope import (
    COUNTS,
    clip_counts,
    compute_envelope,
    fit_envelope,
    fit_slope,
    run_planted_control,
    scale_ranks,
)
from ontogeny.quanta.methods import make_clusterer
from ontogeny.quanta.planted import CosineLevels, measure_levels, plant_like, plant_sizes

LEVELS = CosineLevels(within=0.5, between=0.05, spread=0.03)


def test_counts_and_ranks_are_the_published_ones_and_are_clipped() -> None:
    assert COUNTS[:3] == (10, 20, 30) and COUNTS[9:11] == (100, 125) and COUNTS[-3:] == (1200, 1400, 1500)
    assert len(COUNTS) == 30
    assert clip_counts(41) == (10, 20, 30, 40) and clip_counts(40) == (10, 20, 30)
    assert scale_ranks(1500) == (100, 1000)
    with pytest.raises(AnalysisError, match="9 tokens cannot be cut into 10 clusters"):
        clip_counts(9)


def test_envelope_by_hand_and_by_weight() -> None:
    two, three = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    assert compute_envelope([two, three]).tolist() == [3, 2, 1]
    assert compute_envelope([two], np.array([1, 1, 1, 5.0, 1])).tolist() == [6, 3]


@given(st.floats(-3, 3), st.integers(1, 10), st.integers(12, 200))
def test_the_slope_of_a_power_law_is_its_exponent(exponent: float, first: int, last: int) -> None:
    envelope = 7.0 * np.arange(1, 300) ** exponent
    assert fit_slope(envelope, (first, last)) == pytest.approx(exponent, abs=1e-6)


@pytest.mark.parametrize("ranks", [(0, 5), (5, 5), (2, 9)])
def test_ranks_that_are_not_there_are_refused(ranks: tuple[int, int]) -> None:
    with pytest.raises(
        AnalysisError, match=f"ranks {ranks[0]} to {ranks[1]} was asked for and the envelope has ranks 1"
    ):
        fit_slope(np.array([5.0, 4, 3, 2, 1, 1, 1, 0, 0]), ranks)


@given(st.integers(1, 500), st.integers(1, 60), st.floats(0.0, 2.5))
def test_planted_sizes_add_up_and_fall(n_tokens: int, n_clusters: int, exponent: float) -> None:
    sizes = plant_sizes(n_tokens, n_clusters, exponent)
    assert sizes.sum() == n_tokens and (sizes >= 1).all() and (np.diff(sizes) <= 0).all()
    assert len(sizes) <= n_clusters


def test_planted_vectors_have_the_cosines_asked_for() -> None:
    planted = plant_like(np.array([60, 40, 20]), LEVELS)
    found = measure_levels(planted.similarity, planted.labels)
    assert found.within == pytest.approx(0.5, abs=0.01)
    assert found.between == pytest.approx(0.05, abs=0.01)
    assert found.spread == pytest.approx(0.03, rel=0.1)
    np.testing.assert_allclose(np.diag(planted.similarity), 1)
    assert np.linalg.eigvalsh(planted.similarity).min() > -1e-9


def test_fit_with_interval_and_control() -> None:
    sizes = plant_sizes(300, 40, 1.2)
    planted = plant_like(sizes, LEVELS)
    clusterer, counts = make_clusterer("linkage"), (5, 10, 20, 30, 40)
    fit = fit_envelope(planted.similarity, clusterer, counts, ranks=(3, 25), n_draws=5)
    assert fit.low < fit.slope < fit.high and fit.n_draws == 5 and fit.se > 0
    control = run_planted_control(planted.similarity, planted.labels, clusterer, (3, 25), 1.2, counts, n_draws=3)
    # The sizes themselves fall by their exponent, but for rounding.
    assert control.truth == pytest.approx(-1.2, abs=0.15)
    # The sample is a planted one: what the control says of the method's bias holds of it.
    assert fit.slope - control.bias == pytest.approx(control.truth, abs=0.25)
    assert control.ari.min() > 0.8 and control.se >= 0
    assert np.isnan(fit_envelope(planted.similarity, clusterer, counts, ranks=(3, 25)).se)


def test_pairs_within_clusters_of_one_are_none() -> None:
    levels = measure_levels(np.eye(3), np.arange(3))
    assert (levels.within, levels.between) == (1.0, 0.0)
