"""Multitask sparse parity: targets by hand, gradients by autograd, tasks in order of frequency."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from ontogeny.quanta.methods import cluster_tokens
from ontogeny.quanta.sparse_parity import (
    PUBLISHED,
    ParityConfig,
    ParityRun,
    ParityTasks,
    compute_parity_similarity,
    compute_sample_gradients,
    train_parity,
)

SMALL = ParityConfig(n_tasks=4, n_bits=6, size=2, width=64, batch_size=300, steps=600, lr=4e-3, every=25)


def test_targets_are_parities_and_frequencies_a_power_law() -> None:
    tasks = ParityTasks(SMALL)
    which = torch.arange(4).repeat_interleave(20)
    inputs, targets = tasks.draw(which)
    assert torch.equal(inputs[:, :4].argmax(dim=1), which) and (inputs[:, :4].sum(dim=1) == 1).all()
    for row, task in enumerate(which.tolist()):
        assert int(sum(inputs[row, 4 + bit] for bit in tasks.subsets[task].tolist())) % 2 == targets[row]
    np.testing.assert_allclose(tasks.frequency / tasks.frequency[0], [1, 1 / 2, 1 / 3, 1 / 4])
    assert (PUBLISHED.n_tasks, PUBLISHED.n_bits, PUBLISHED.exponent) == (500, 100, 1.4)
    with pytest.raises(ValueError, match="size = 9 bits that matter, of n_bits = 6"):
        ParityConfig(n_bits=6, size=9)
    with pytest.raises(ValueError, match="n_bits = 4 have 6 sets of size = 2, fewer than n_tasks = 7"):
        ParityConfig(n_tasks=7, n_bits=4, size=2)
    assert len({tuple(each) for each in tasks.subsets.tolist()}) == 4


@pytest.fixture(scope="module")
def run() -> ParityRun:
    return train_parity(SMALL)


def test_gradients_are_autograds(run: ParityRun) -> None:
    inputs, targets = run.tasks.draw(torch.arange(4))
    ours = compute_sample_gradients(run.network, inputs, targets)
    for row in range(4):
        run.network.zero_grad()
        torch.nn.functional.cross_entropy(run.network(inputs[row : row + 1]), targets[row : row + 1]).backward()
        by_autograd = torch.cat([parameter.grad.flatten() for parameter in run.network.parameters()])  # type: ignore
        torch.testing.assert_close(ours[row].float(), by_autograd, rtol=1e-4, atol=1e-7)


def test_frequent_tasks_emerge_first_and_whitened_magnitudes_tell_tasks_apart(run: ParityRun) -> None:
    steps = run.emergence()
    assert not np.isnan(steps).any() and steps[0] < steps[-1]
    law = run.emergence_law()
    assert law.n == 4 and law.exponent < -0.3
    which = torch.arange(4).repeat_interleave(25)
    similarity = compute_parity_similarity(run, *run.tasks.draw(which), "absolute", whitened=True)
    assert adjusted_rand_score(which, cluster_tokens(similarity, [4], n_init=3)[4]) >= 0.8
    assert np.isnan(run.emergence(0.0)).all()
