"""The way from the clean activation to the baseline, and the gradient of the metric along it.

A path moves the activation of one source at the chosen positions from x to where the baseline has it. What is summed
along it is only the gradient with respect to the activation, [prompt position d_model]: since decoding is linear, the
effect of every latent follows from it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.interventions.prompts import Prompts, compare_answers
from ontogeny.interventions.suffix import run_to_last
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

Rule = Literal["left", "mid", "trapezoid", "legendre"]


@dataclass(frozen=True)
class PathGradient:
    """The mean gradient along a path, and the metric at both of its ends.

    `gradient` [prompt position d_model] = sum_q w_q dm/dx at x + a_q (x' - x), zero at positions that do not move;
    `start`, `end` [prompt]: the metric at x and at x'.
    """

    gradient: Float[Tensor, "prompt position d_model"]
    start: Float[Tensor, " prompt"]
    end: Float[Tensor, " prompt"]


def quadrature(rule: Rule, steps: int) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"]]:
    """Nodes and weights on [0, 1]; left with one step is attribution patching (the gradient at the clean state).

    left: j/n; mid: (j + 1/2)/n; trapezoid: n + 1 nodes, half weights at both ends; legendre: Gauss-Legendre, exact for
    polynomials of degree 2n - 1.
    """
    assert steps >= 1, "a path needs a step"
    if rule == "trapezoid":
        weights = np.full(steps + 1, 1.0 / steps)
        weights[[0, -1]] /= 2
        return np.linspace(0.0, 1.0, steps + 1), weights
    if rule == "legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    return (np.arange(steps) + (0.5 if rule == "mid" else 0.0)) / steps, np.full(steps, 1.0 / steps)


def compute_path_gradient(
    model: HookedModel,
    hook_point: HookPoint,
    prompts: Prompts,
    hidden: Float[Tensor, "prompt position d_model"],
    target: Float[Tensor, "prompt position d_model"],
    moves: Bool[Tensor, "prompt position"],
    rule: Rule = "left",
    steps: int = 1,
) -> PathGradient:
    """Integrate dm/dx from `hidden` to `target` at the positions that move; m is `prompts.compute_metric`.

    One forward and backward of the blocks after the hook point a step, and one forward for the end. Source:
    integrated gradients (Sundararajan et al. 2017); attribution patching (Nanda 2023; Kramár et al. 2024).
    """
    difference = torch.where(moves[..., None], target - hidden, 0.0)
    nodes, weights = quadrature(rule, steps)
    total = torch.zeros_like(hidden)
    start: Tensor | None = None
    parameters = [each for each in model.module.parameters() if each.requires_grad]
    for each in parameters:  # only the activation's gradient is wanted: those of the weights would double the work
        each.requires_grad_(False)
    try:
        for node, weight in zip(nodes, weights, strict=True):
            with torch.enable_grad():
                state = (hidden + float(node) * difference).requires_grad_(True)
                metric = measure_with(model, hook_point, prompts, state)
                (gradient,) = torch.autograd.grad(metric.sum(), state)
            total += float(weight) * gradient
            start = metric.detach() if node == 0 else start
    finally:
        for each in parameters:
            each.requires_grad_(True)
    with torch.no_grad():
        start = measure_with(model, hook_point, prompts, hidden) if start is None else start
        end = measure_with(model, hook_point, prompts, hidden + difference)
    return PathGradient(torch.where(moves[..., None], total, 0.0), start, end)


def measure_with(
    model: HookedModel, hook_point: HookPoint, prompts: Prompts, state: Float[Tensor, "prompt position d_model"]
) -> Float[Tensor, " prompt"]:
    """The metric with the activation at a hook point replaced by `state`."""
    logits = run_to_last(model, prompts.tokens, prompts.attention, hook_point, state, prompts.last)
    return compare_answers(logits, prompts)
