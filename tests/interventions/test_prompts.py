"""Prompts: the metric at the last position, padding on either side, no wrong answer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interventions.tiny_prompts import tiny_pairs
from interventions.tiny_series import HOOK_POINT, tiny_series
from ontogeny.interventions.prompts import (
    Prompts,
    clean_prompts,
    compute_metric,
    measure_prompts,
    patch_prompts,
    read_prompts,
)
from ontogeny.snapshots.series import SnapshotSeries


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("family"))


def test_the_metric_is_what_the_model_says_of_each_prompt_alone(series: SnapshotSeries) -> None:
    pairs, model = tiny_pairs(), series.open(1)
    together = measure_prompts(model, clean_prompts(pairs), batch=3)
    for index in range(len(pairs)):
        ids = torch.from_numpy(pairs.clean[index : index + 1, : pairs.length[index]])
        with torch.no_grad():
            logits = model.module(ids).logits[0, -1]
        expected = logits[int(pairs.wrong[index])] - logits[int(pairs.right[index])]
        assert torch.isclose(together[index], expected, atol=1e-5)


def test_padding_on_the_left_needs_a_mask_and_changes_nothing_before_it() -> None:
    pairs = tiny_pairs()
    prompts = clean_prompts(pairs)
    assert prompts.attention is None, "padding behind the last position is never looked at"
    flipped = Prompts(prompts.tokens.flip(1), prompts.occupied.flip(1), prompts.last, prompts.right, prompts.wrong)
    assert flipped.attention is not None
    assert torch.equal(flipped.attention, flipped.occupied.long())


def test_without_a_wrong_answer_the_metric_is_a_loss(series: SnapshotSeries) -> None:
    prompts = clean_prompts(tiny_pairs(3))
    alone = Prompts(prompts.tokens, prompts.occupied, prompts.last, prompts.right, torch.full((3,), -1))
    logits = torch.randn(3, prompts.tokens.shape[1], 40)
    final = logits[torch.arange(3), prompts.last].log_softmax(-1)
    assert torch.allclose(compute_metric(logits, alone), -final[torch.arange(3), prompts.right])


def test_activations_are_those_of_the_whole_forward(series: SnapshotSeries) -> None:
    prompts, model = clean_prompts(tiny_pairs()), series.open(0)
    with torch.no_grad():
        whole = model.forward(prompts.tokens, None, read=[HOOK_POINT]).activations[HOOK_POINT]
    assert torch.allclose(read_prompts(model, prompts, HOOK_POINT, batch=2), whole, atol=1e-6)


def test_patch_prompts_keep_the_answers_and_may_be_missing(tmp_path: Path) -> None:
    pairs = tiny_pairs()
    patch = patch_prompts(pairs)
    assert patch is not None and np.array_equal(patch.tokens.numpy(), pairs.patch)  # type: ignore[arg-type]
    assert torch.equal(patch.right, clean_prompts(pairs).right)
    taken = patch.take(torch.tensor([1, 4])).to("cpu")
    assert torch.equal(taken.tokens, patch.tokens[[1, 4]]) and torch.equal(taken.right, patch.right[[1, 4]])
    single = type(pairs)(pairs.clean, None, pairs.length, None, pairs.right, pairs.wrong, pairs.cluster, pairs.pairs)
    assert patch_prompts(single) is None
