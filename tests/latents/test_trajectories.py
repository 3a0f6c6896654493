"""Lives of latents against closed forms, and properties that every trajectory has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ontogeny.latents.trajectories import CLASSES, LifeThresholds, compute_live, compute_lives, count_population

TIME = np.log2(1.0 + np.array([0, 2, 8, 32, 128, 512, 2048]))
EXAMPLES = {
    "initialisation": [1, 0.1, 0.1, 0.5, 0.6, 0.7, 0.8],
    "persistent": [0.8, 1, 1, 1, 1, 0.9, 1],
    "discontinued": [1, 1, 1, 1, 1, 0.1, 0],
    "late-specific": [0, 0, 0, 0, 0, 0, 2],
    "emergent": [0, 0, 0.1, 0.3, 0.5, 1, 1],
    "transient": [0, 0, 0, 1, 1, 0.2, 0],
    "mixed": [0, 1, 0, 0, 0, 1, 0],
    "never": [0, 0, 0, 0, 0, 0, 0],
}
trajectories = st.integers(1, 9).flatmap(
    lambda n: arrays(np.float64, (6, n), elements=st.floats(0, 4, allow_nan=False, width=16))
)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_an_example(name: str) -> None:
    assert compute_lives(np.array([EXAMPLES[name]], dtype=float), TIME).classes == [name]


def test_a_fall_that_is_late_or_slow_is_no_initialisation() -> None:
    early = np.array([[1, 0.1, 0.1, 0.1, 0, 0, 0]], dtype=float)
    late = np.array([[1, 0.9, 0.9, 0.9, 0.9, 0.1, 0]], dtype=float)
    slow = np.array([[1, 0.9, 0.6, 0.45, 0.4, 0.3, 0.2]], dtype=float)
    assert compute_lives(np.concatenate([early, late]), TIME).classes == ["initialisation", "discontinued"]
    sharp = LifeThresholds(drop_octaves=1.0)
    assert compute_lives(np.concatenate([early, slow]), TIME, sharp).classes == ["initialisation", "discontinued"]


def test_two_sources_are_base_only_chat_only_and_shared() -> None:
    strength = np.array([[1, 0.2], [0.2, 1], [1, 0.9], [0, 0]], dtype=float)
    lives = compute_lives(strength, np.array([0.0, 1.0]))
    assert lives.classes == ["discontinued", "late-specific", "persistent", "never"]
    assert lives.left_censored.tolist() == [True, False, True, False]
    assert lives.right_censored.tolist() == [False, True, True, False]


def test_places_and_times_of_a_latent_that_comes_and_goes() -> None:
    lives = compute_lives(np.array([EXAMPLES["transient"]], dtype=float), TIME)
    assert (lives.onset[0], lives.peak[0], lives.vanish[0]) == (3, 3, 5)
    assert lives.lifetime[0] == pytest.approx(TIME[5] - TIME[3])
    # From 0 at step 8 to 1 at step 32: half way up in log2(1 + step).
    assert 2 ** lives.half_rise[0] - 1 == pytest.approx(np.sqrt(9 * 33) - 1)


def test_half_rise_starts_from_the_least_strength_before_the_peak() -> None:
    strength = np.array([[0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 1.0]])
    lives = compute_lives(strength, TIME)
    # Half way from 0.2 to 1 is 0.6, which a straight line passes half way.
    assert lives.half_rise[0] == pytest.approx((TIME[2] + TIME[3]) / 2)
    later = compute_lives(strength, TIME, LifeThresholds(rise_share=0.75))
    assert later.half_rise[0] == pytest.approx(TIME[2] + 0.75 * (TIME[3] - TIME[2]))


def test_what_lives_from_the_first_source_on_has_no_half_rise() -> None:
    lives = compute_lives(np.array([EXAMPLES["persistent"], EXAMPLES["discontinued"]], dtype=float), TIME)
    assert np.isnan(lives.half_rise).all() and lives.left_censored.all()


def test_nothing_is_made_up_for_what_lives_nowhere() -> None:
    lives = compute_lives(np.array([[0.0, np.nan], [np.nan, np.nan]]), np.array([0.0, 1.0]))
    assert (lives.onset == -1).all() and (lives.peak == -1).all() and (lives.vanish == -1).all()
    assert np.isnan(lives.lifetime).all() and np.isnan(lives.half_rise).all()
    assert not lives.left_censored.any() and not lives.right_censored.any()


def test_hold_drops_short_runs_but_not_those_cut_off_by_the_series() -> None:
    strength = np.array([[1, 0, 1, 0, 1, 1, 0, 1.0]])
    held = compute_live(strength, LifeThresholds(hold=2))
    assert held.astype(int).tolist() == [[1, 0, 0, 0, 1, 1, 0, 1]]


def test_least_strength_keeps_the_faint_from_living() -> None:
    strength = np.array([[0.01, 0.02], [1.0, 2.0]])
    assert compute_live(strength, LifeThresholds(least_strength=0.1)).any(axis=1).tolist() == [False, True]


def test_population_balances() -> None:
    live = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    population = count_population(live)
    assert population.live.tolist() == [1, 2, 1, 2]
    assert population.born.tolist() == [1, 1, 0, 0]
    assert population.gone.tolist() == [0, 0, 1, 0]


@given(trajectories)
def test_definitions_agree_with_one_another(strength: np.ndarray) -> None:
    time = np.arange(strength.shape[1], dtype=float)
    lives = compute_lives(strength, time)
    alive = lives.live.any(axis=1)
    assert set(lives.classes) <= set(CLASSES)
    assert [name == "never" for name in lives.classes] == (~alive).tolist()
    for latent in np.flatnonzero(alive):
        onset, peak, vanish = int(lives.onset[latent]), int(lives.peak[latent]), int(lives.vanish[latent])
        assert lives.live[latent, onset] and not lives.live[latent, :onset].any()
        assert lives.live[latent, peak]
        assert (vanish == -1) == bool(lives.right_censored[latent])
        assert vanish == -1 or (lives.live[latent, vanish - 1] and not lives.live[latent, vanish:].any())
        if not np.isnan(lives.half_rise[latent]):
            assert lives.half_rise[latent] <= time[peak]


@given(trajectories, st.floats(0.01, 100))
def test_the_scale_of_strength_does_not_matter(strength: np.ndarray, scale: float) -> None:
    # Powers of two scale exactly, so that no comparison at a threshold flips by rounding.
    factor = 2.0 ** np.round(np.log2(scale))
    time = np.arange(strength.shape[1], dtype=float)
    one, other = compute_lives(strength, time), compute_lives(strength * factor, time)
    np.testing.assert_array_equal(one.kind, other.kind)
    np.testing.assert_array_equal(one.half_rise, other.half_rise)


@given(trajectories, st.permutations(range(6)))
def test_latents_do_not_depend_on_one_another(strength: np.ndarray, order: list[int]) -> None:
    time = np.arange(strength.shape[1], dtype=float)
    whole, permuted = compute_lives(strength, time), compute_lives(strength[order], time)
    np.testing.assert_array_equal(whole.kind[order], permuted.kind)
    np.testing.assert_array_equal(whole.onset[order], permuted.onset)
