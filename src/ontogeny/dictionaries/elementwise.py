"""Elementwise parts of the codes: the gate with a learned threshold, and the smooth count.

On a dense table [token latent] every elementwise operation is a trip through memory; these walk the values in blocks
that stay in cache and keep no temporaries, which takes a third of the time of the same formulas in autograd.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 1 << 20
"""Numbers in a block: 4 MiB of float32; with smaller ones, starting two threads costs more than the cache saves."""


def _blocks(values: Tensor) -> Iterator[slice]:
    """Slices of the first axis, small enough for the cache; a row that is longer is a block of its own."""
    length = max(1, _BLOCK // max(1, values[0].numel())) if len(values) else 1
    for start in range(0, len(values), length):
        yield slice(start, start + length)


def _part(per_value: Tensor, values: Tensor, block: slice) -> Tensor:
    """A quantity per latent goes with every row; one per pair is cut like the pairs."""
    return per_value if values.ndim == 2 else per_value[block]


def keep_positive(values: Tensor, condition: Tensor, out: Tensor) -> None:
    """out = values where condition > 0, else 0: the kernel of relu's gradient, ten times as fast as torch.where."""
    torch.ops.aten.threshold_backward.grad_input(values, condition, 0.0, grad_input=out)


def gate_values(pre: Tensor, threshold: Tensor, norm: Tensor, out: Tensor) -> Tensor:
    """out = pre where pre · norm > threshold, else 0; threshold and norm are per latent, or per pair for pairs."""
    for block in _blocks(pre):
        excess = (pre[block] * _part(norm, pre, block)).sub_(_part(threshold, pre, block))
        keep_positive(pre[block], excess, out=out[block])
    return out


def gate_gradient(
    grad: Tensor, pre: Tensor, threshold: Tensor, norm: Tensor, window: float, out: Tensor, near_sums: Tensor | None
) -> None:
    """out = grad where the gate is on, else 0 (`out` may be `grad`).

    The gradient near the threshold is added to `near_sums`, if given: per latent its sum over tokens, per pair itself.
    """
    lowest, highest = (threshold - window / 2).clamp_min(0.0), threshold + window / 2
    for block in _blocks(pre):
        score = pre[block] * _part(norm, pre, block)
        excess = score - _part(threshold, pre, block)
        if near_sums is not None:
            near = torch.empty_like(score)
            keep_positive(grad[block], score - _part(lowest, pre, block), out=near)
            keep_positive(near, score.neg_().add_(_part(highest, pre, block)), out=near)
            if pre.ndim == 2:
                near_sums += near.sum(0)
            else:
                near_sums[block] += near
        keep_positive(grad[block], excess, out=out[block])


def threshold_gradient(near_sums: Tensor, threshold: Tensor, norm: Tensor, window: float) -> Tensor:
    """The straight-through estimate -th / (window n) times the gradient near the threshold."""
    # A latent whose norm is 0 has no score in the window, so that its 0 · inf is 0.
    return near_sums * (-threshold / (window * norm)).nan_to_num(0.0, 0.0, 0.0)


class _JumpGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, norm: Tensor, window: float) -> Tensor:
        ctx.save_for_backward(pre, threshold, norm)
        ctx.window = window
        return gate_values(pre, threshold, norm, torch.empty_like(pre))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        pre, threshold, norm = ctx.saved_tensors
        grad_pre = torch.empty_like(pre)
        near_sums = torch.zeros_like(threshold) if ctx.needs_input_grad[1] else None
        gate_gradient(grad, pre, threshold, norm, ctx.window, grad_pre, near_sums)
        found = None if near_sums is None else threshold_gradient(near_sums, threshold, norm, ctx.window)
        return grad_pre, found, None, None


def jump_gate(
    pre: Float[Tensor, "*shape"], threshold: Float[Tensor, " n"], norm: Float[Tensor, " n"], window: float
) -> Float[Tensor, "*shape"]:
    """JumpReLU(z; th) / n with z = pre · n, that is pre where z > th and 0 elsewhere.

    Straight-through gradient for the threshold: -th / (window n) where |z - th| < window / 2 and z > 0. The norm gets
    none: in z and in the division it cancels. `threshold` and `norm` are per latent, or per pair for sparse codes.
    Source: Language-Model-SAEs, activation_functions.py; Rajamanoharan et al. 2024 (JumpReLU).
    """
    return _JumpGate.apply(pre, threshold, norm, window)


def tanh_sums(
    values: Float[Tensor, "token latent"], scale: Float[Tensor, " latent"]
) -> tuple[Float[Tensor, " latent"], Float[Tensor, " latent"]]:
    """The sum over tokens of tanh(values · scale), for values and scales that are not negative, and its slope in scale.

    Both without gradient: one pass and one exponential serve the two.
    """
    total, slope = torch.zeros_like(scale), torch.zeros_like(scale)
    for block in _blocks(values):
        decay = _decay(values[block], scale)
        above = decay + 1.0
        slope += (decay / above).div_(above).mul_(values[block]).sum(0)
        # tanh(y) = (1 - e) / (1 + e) with e = exp(-2 y): exp is several times as fast as tanh.
        total += decay.neg_().add_(1.0).div_(above).sum(0)
    return total, 4 * slope


def add_tanh_gradient(
    out: Float[Tensor, "token latent"],
    values: Float[Tensor, "token latent"],
    scale: Float[Tensor, " latent"],
    grad: Float[Tensor, " latent"],
) -> None:
    """out += grad · d tanh(values · scale) / d values."""
    factor = 4 * grad * scale
    for block in _blocks(values):
        decay = _decay(values[block], scale)
        # 1 - tanh² = 4 e / (1 + e)²
        above = decay + 1.0
        out[block].addcmul_(decay.div_(above).div_(above), factor)


def shortfall_sums(
    pre: Float[Tensor, "token latent"], threshold: Float[Tensor, " latent"]
) -> tuple[Float[Tensor, " latent"], Float[Tensor, " latent"]]:
    """The sum over tokens of relu(threshold - pre), and on how many of them it is positive; without gradient."""
    total, count = torch.zeros_like(threshold), torch.zeros_like(threshold)
    for block in _blocks(pre):
        short = threshold - pre[block]
        count += (short > 0).sum(0)
        total += short.relu_().sum(0)
    return total, count


def add_shortfall_gradient(
    out: Float[Tensor, "token latent"],
    pre: Float[Tensor, "token latent"],
    threshold: Float[Tensor, " latent"],
    grad: Float[Tensor, " latent"],
) -> None:
    """out += grad · d relu(threshold - pre) / d pre."""
    for block in _blocks(pre):
        out[block].addcmul_((pre[block] < threshold).to(out.dtype), grad, value=-1)


def _decay(values: Tensor, scale: Tensor) -> Tensor:
    return (values * (-2 * scale)).exp_()
