"""Quadrature rules, and the gradient along a path against autograd in float64."""

import numpy as np
import pytest
import torch

from interventions.tiny_prompts import read_all, tiny_pairs
from interventions.tiny_series import HOOK_POINT, tiny_series
from ontogeny.interventions.effect_batches import moving_positions
from ontogeny.interventions.paths import Rule, compute_path_gradient, quadrature
from ontogeny.interventions.prompts import clean_prompts, measure_prompts, patch_prompts
from ontogeny.snapshots.series import SnapshotSeries

RULES: tuple[Rule, ...] = ("left", "mid", "trapezoid", "legendre")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("family"))


@pytest.mark.parametrize("rule", RULES)
def test_rules_integrate_what_they_say(rule: Rule) -> None:
    exact = {"left": 0, "mid": 1, "trapezoid": 1, "legendre": 9}[rule]
    nodes, weights = quadrature(rule, 5)
    for degree in range(exact + 1):
        assert np.isclose((weights * nodes**degree).sum(), 1 / (degree + 1))
    fine = quadrature(rule, 400)
    assert np.isclose((fine[1] * np.exp(fine[0])).sum(), np.e - 1, rtol=3e-3)


def test_attribution_patching_is_one_left_step() -> None:
    nodes, weights = quadrature("left", 1)
    assert nodes.tolist() == [0.0] and weights.tolist() == [1.0]


@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_is_the_weighted_sum_of_autograd_in_float64(series: SnapshotSeries, rule: Rule) -> None:
    pairs, model = tiny_pairs(4), series.open(1)
    clean, patch = clean_prompts(pairs), patch_prompts(pairs)
    assert patch is not None
    hidden, target = (read_all(series, prompts).values[:, :, 1] for prompts in (clean, patch))
    moves = moving_positions(clean)
    found = compute_path_gradient(model, HOOK_POINT, clean, hidden, target, moves, rule, 3)
    module = series.open(1).module.double()
    expected = torch.zeros_like(hidden, dtype=torch.float64)
    rows = torch.arange(len(clean))
    for node, weight in zip(*quadrature(rule, 3), strict=True):
        moved = hidden.double() + float(node) * moves[..., None] * (target - hidden).double()
        state = moved.requires_grad_()
        after = module.gpt_neox.layers[0].register_forward_hook(lambda *_, value=state: value)
        final = module(clean.tokens).logits[rows, clean.last]
        after.remove()
        metric = final[rows, clean.wrong] - final[rows, clean.right]
        (gradient,) = torch.autograd.grad(metric.sum(), state)
        expected += float(weight) * gradient
    expected[~moves] = 0
    assert torch.allclose(found.gradient.double(), expected, atol=1e-5 * float(expected.abs().max()))
    assert torch.allclose(found.start, measure_prompts(model, clean), atol=1e-5)


def test_weights_ask_for_gradients_again_afterwards(series: SnapshotSeries) -> None:
    model, prompts = series.open(0), clean_prompts(tiny_pairs(2))
    hidden = read_all(series, prompts).values[:, :, 0]
    compute_path_gradient(model, HOOK_POINT, prompts, hidden, torch.zeros_like(hidden), moving_positions(prompts))
    assert all(each.requires_grad and each.grad is None for each in model.module.parameters())
