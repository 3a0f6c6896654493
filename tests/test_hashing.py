"""splitmix64 against the numbers of its reference code, and against chance."""

import numpy as np

from ontogeny.hashing import GOLDEN, mix64


def test_the_first_numbers_of_seed_1234567_are_the_reference_codes() -> None:
    states = np.uint64(1234567) + np.arange(5, dtype=np.uint64) * GOLDEN
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix64(states).tolist() == expected


def test_neighbours_are_unrelated() -> None:
    numbers = mix64(np.arange(100_000, dtype=np.uint64)) / 2.0**64
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.015
