"""Which positions move, and what a batch of prompts holds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interventions.tiny_prompts import read_all, tiny_dictionary, tiny_pairs
from interventions.tiny_series import tiny_series
from ontogeny.errors import CorpusError
from ontogeny.interventions.effect_batches import build_effect_batches, iter_halves, moving_positions
from ontogeny.interventions.prompts import Prompts, clean_prompts


def test_padding_and_first_positions_stay() -> None:
    occupied = torch.tensor([[False, True, True, True], [True, True, True, False]])
    prompts = Prompts(
        torch.zeros(2, 4).long(), occupied, torch.tensor([3, 2]), torch.zeros(2).long(), torch.ones(2).long()
    )
    assert moving_positions(prompts).int().tolist() == [[0, 0, 1, 1], [0, 1, 1, 0]]
    assert moving_positions(prompts, 0).int().tolist() == occupied.int().tolist()
    assert moving_positions(prompts, 0, [-1]).int().tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    with pytest.raises(CorpusError, match="no position left"):
        moving_positions(prompts, 3)


def test_batches_cut_the_prompts_in_order_and_need_patches_for_pairs(tmp_path: Path) -> None:
    series, dictionary, clean = tiny_series(tmp_path), tiny_dictionary(), clean_prompts(tiny_pairs())
    activations, moves = read_all(series, clean), moving_positions(clean)
    batches, mean = build_effect_batches(dictionary, clean, activations, moves, baseline="mean", batch=3)
    assert [batch.numbers.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert mean is not None and torch.allclose(mean, activations.values[moves].mean(0), atol=1e-5)
    assert build_effect_batches(dictionary, clean, activations, moves, baseline="zero")[1] is None
    with pytest.raises(CorpusError, match="no patch prefix"):
        build_effect_batches(dictionary, clean, activations, moves, baseline="pair")


def test_halves_share_no_cluster() -> None:
    clusters = np.repeat(np.arange(9), 3)
    first, second = iter_halves(clusters, 1)
    assert sorted([*first, *second]) == list(range(27))
    assert not set(clusters[first]) & set(clusters[second]) and len(set(clusters[first])) == 4
