"""Groups of tokens: places in answers."""

import numpy as np

from interventions.tiny_series import tiny_corpus
from ontogeny.evaluation.groups import place_in_run, predicted_groups


def test_places_count_from_the_start_of_each_run() -> None:
    corpus = tiny_corpus()
    corpus.masks["assistant"][0, [2, 3, 4, 6, 7]] = True
    positions = np.array([2, 3, 4, 6, 7])
    assert place_in_run(corpus, np.zeros(5, np.int64), positions).tolist() == [0, 1, 2, 0, 1]


def test_groups_are_of_the_predicted_token() -> None:
    corpus = tiny_corpus()
    corpus.masks["assistant"][0, [2, 3, 4, 6, 7]] = True
    corpus.masks["control"][0, 5] = True
    row, position = np.zeros(8, np.int64), np.arange(8)
    groups = {name: np.flatnonzero(member).tolist() for name, member in predicted_groups(corpus, row, position, 2)}
    assert groups["answer/first 2"] == [1, 2, 5, 6] and groups["answer/rest"] == [3]
    assert groups["mask/control"] == [4] and groups["all"] == list(range(8))
    plain = predicted_groups(tiny_corpus(), row, position, 2)
    assert not any(name.startswith("answer") for name, _ in plain)
