"""Dense codes: one table [token latent] whose gradient is never a table.

In autograd every use of such a table hands back a gradient as large as itself, and their sums are further tables: a
ReLU step held 4 of them, JumpReLU 6. Here a use leaves with the table what it would add (an `Addend`), and the
encoder's backward makes the gradient one block of rows at a time out of all that was left, and uses it up at once.
What is left is five matmuls, and memory for the codes (JumpReLU: the pre-activations too).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.elementwise import (
    add_shortfall_gradient,
    add_tanh_gradient,
    gate_gradient,
    gate_values,
    keep_positive,
    shortfall_sums,
    tanh_sums,
    threshold_gradient,
)
from ontogeny.dictionaries.ledger import UNGATED, Addend, Ledger, block_rows, row_blocks
from ontogeny.dictionaries.product import multiply


class _Encode(torch.autograd.Function):
    """x, W_enc, b_enc, threshold (None: ReLU, or no gates at all) to the table."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor | None, ledger: Ledger) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.ledger = ledger
        pre = multiply(x, W_enc, b_enc) if ledger.pre is None else ledger.pre
        if ledger.whole and threshold is None:
            pre = table = pre.relu_()
        elif ledger.whole and threshold is not None:
            table = gate_values(pre, threshold, ledger.norms[0], torch.empty_like(pre))
        else:
            table = pre.detach()
        # Not the tensor that is returned: that one will know its graph, which knows the ledger, and nothing would end.
        ledger.pre = pre.detach()
        ctx.save_for_backward(x, W_enc, threshold, pre, table)
        return table

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, W_enc, threshold, pre, table = ctx.saved_tensors
        ledger: Ledger = ctx.ledger
        needs_x, needs_W, needs_b, needs_threshold, _ = ctx.needs_input_grad
        grad_x = torch.empty_like(x) if needs_x else None
        grad_W = torch.zeros_like(W_enc) if needs_W else None
        grad_b = W_enc.new_zeros(len(W_enc)) if needs_b else None
        near_sums = W_enc.new_zeros(len(ledger.gates), len(W_enc)) if needs_threshold else None
        buffer = torch.empty_like(pre[: block_rows(pre)])
        for rows in row_blocks(pre):
            grad = _table_gradient(ledger, grads[0], (pre[rows], table[rows], threshold), rows, near_sums, buffer)
            if grad_x is not None:
                torch.mm(grad, W_enc.to(grad.dtype), out=grad_x[rows])
            if grad_W is not None:
                _add_product(grad_W, grad.T, x[rows])
            if grad_b is not None:
                grad_b += grad.sum(0)
        ledger.addends.clear()
        grad_threshold = None
        if near_sums is not None:
            parts = zip(near_sums, ledger.norms, strict=True)
            parts_of_threshold = [threshold_gradient(near, threshold, norm, ledger.window) for near, norm in parts]
            grad_threshold = torch.stack(parts_of_threshold).sum(0)
        return grad_x, grad_W, grad_b, grad_threshold, None


def _table_gradient(
    ledger: Ledger,
    given: Tensor | None,
    block: tuple[Tensor, Tensor, Tensor | None],
    rows: slice,
    near_sums: Tensor | None,
    buffer: Tensor,
) -> Float[Tensor, "row latent"]:
    """The gradient of some rows of the pre-activations, in `buffer`; `given` is the part that came as a table."""
    pre, table, threshold = block
    total = buffer[: len(pre)]
    if given is None:
        total.zero_()
    else:
        total.copy_(given[rows])
    for gate in ledger.gates:
        grad = total if ledger.whole else torch.zeros_like(total)
        ledger.add(gate, grad, ledger.gated(table, threshold, gate), rows)
        if threshold is None:
            keep_positive(grad, table, out=grad)
        else:
            near = None if near_sums is None else near_sums[gate]
            gate_gradient(grad, pre, threshold, ledger.norms[gate], ledger.window, grad, near)
        if grad is not total:
            total += grad
    ledger.add(UNGATED, total, pre, rows)
    return total


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left · right, in the narrower format of the two where a matmul ran under autocast."""
    if left.dtype == right.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right.to(left.dtype)


class _Times(torch.autograd.Function):
    """The gated values times a matrix per source [latent source width] to [token source width]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, weight: Tensor, threshold: Tensor | None, ledger: Ledger) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(table, weight, threshold)
        ctx.ledger, ctx.use = ledger, next(ledger.uses)
        if ledger.whole:
            return multiply(table, weight.flatten(1).T).unflatten(1, weight.shape[1:])
        out = table.new_empty(len(table), *weight.shape[1:])
        for rows in row_blocks(table):
            for gate in ledger.gates:
                out[rows, gate] = ledger.gated(table[rows], threshold, gate) @ weight[:, gate]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        table, weight, threshold = ctx.saved_tensors
        ledger: Ledger = ctx.ledger
        (grad,) = grads
        if grad is None:
            return None, None, None, None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for gate in ledger.gates:
            part, own_weight = (
                (grad.flatten(1), weight.flatten(1)) if ledger.whole else (grad[:, gate], weight[:, gate])
            )
            if ctx.needs_input_grad[0]:
                ledger.leave(ctx.use, gate, _product(part.to(table.dtype), own_weight.to(table.dtype)))
            if grad_weight is not None:
                total = grad_weight.flatten(1) if ledger.whole else grad_weight[:, gate]
                for rows in [slice(None)] if ledger.whole else row_blocks(table):
                    _add_product(total, ledger.gated(table[rows], threshold, gate).T, part[rows])
        return None, grad_weight, None, None


def _product(grad: Tensor, weight: Tensor) -> Addend:
    def add(out: Tensor, values: Tensor, rows: slice) -> None:
        out += multiply(grad[rows], weight)

    return add


class _Means(torch.autograd.Function):
    """The mean over tokens of the values that one gate lets through."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, threshold: Tensor | None, ledger: Ledger, gate: int) -> Tensor:
        ctx.ledger, ctx.use, ctx.gate, ctx.n_tokens = ledger, next(ledger.uses), gate, len(table)
        if ledger.whole:
            return table.sum(0) / len(table)
        parts = [ledger.gated(table[rows], threshold, gate).sum(0) for rows in row_blocks(table)]
        return torch.stack(parts).sum(0) / len(table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        share = grads[0] / ctx.n_tokens
        ctx.ledger.leave(ctx.use, ctx.gate, lambda out, values, rows: out.add_(share))
        return None, None, None, None


class _TanhMeans(torch.autograd.Function):
    """The mean over tokens of tanh(value · scale) for the values that one gate lets through."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, scale: Tensor, threshold: Tensor | None, ledger: Ledger, gate: int) -> Tensor:
        total, slope = torch.zeros_like(scale), torch.zeros_like(scale)
        for rows in [slice(None)] if ledger.whole else row_blocks(table):
            part, part_slope = tanh_sums(ledger.gated(table[rows], threshold, gate), scale)
            total += part
            slope += part_slope
        ctx.save_for_backward(scale, slope / len(table))
        ctx.ledger, ctx.use, ctx.gate, ctx.n_tokens = ledger, next(ledger.uses), gate, len(table)
        return total / len(table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, slope = ctx.saved_tensors
        share = grads[0] / ctx.n_tokens
        ctx.ledger.leave(ctx.use, ctx.gate, lambda out, values, rows: add_tanh_gradient(out, values, scale, share))
        return None, grads[0] * slope, None, None, None


class _ShortfallMeans(torch.autograd.Function):
    """The mean over tokens of relu(threshold - pre), whatever the gates."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, threshold: Tensor, ledger: Ledger) -> Tensor:
        assert ledger.pre is not None, "the encoder keeps its pre-activations"
        total, count = shortfall_sums(ledger.pre, threshold)
        ctx.save_for_backward(threshold, count / len(table))
        ctx.ledger, ctx.use, ctx.n_tokens = ledger, next(ledger.uses), len(table)
        return total / len(table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        threshold, share_below = ctx.saved_tensors
        share = grads[0] / ctx.n_tokens
        ctx.ledger.leave(ctx.use, UNGATED, lambda out, pre, rows: add_shortfall_gradient(out, pre, threshold, share))
        return None, grads[0] * share_below, None


@dataclass(frozen=True)
class DenseTable:
    """The table [token latent] of dense codes and what losses and decoder ask of it, one gate or one per source.

    `values` can be used in autograd as any tensor; that use costs a table for its gradient.
    """

    values: Float[Tensor, "token latent"]
    threshold: Float[Tensor, " latent"] | None
    ledger: Ledger

    def times(self, weight: Float[Tensor, "latent source width"]) -> Float[Tensor, "token source width"]:
        """sum_j f_tj gate_tjs weight_js."""
        return _Times.apply(self.values, weight, self._cut(), self.ledger)

    def means(self, gate: int) -> Float[Tensor, " latent"]:
        """mean_t f_tj, as one gate lets them through."""
        return _Means.apply(self.values, self._cut(), self.ledger, gate)

    def tanh_means(self, gate: int, scale: Float[Tensor, " latent"]) -> Float[Tensor, " latent"]:
        """mean_t tanh(f_tj scale_j), as one gate lets them through; no scale is negative."""
        return _TanhMeans.apply(self.values, scale, self._cut(), self.ledger, gate)

    def shortfall_means(self, threshold: Float[Tensor, " latent"]) -> Float[Tensor, " latent"]:
        """mean_t relu(threshold_j - pre_tj), before any gate."""
        return _ShortfallMeans.apply(self.values, threshold, self.ledger)

    def _cut(self) -> Tensor | None:
        return None if self.threshold is None else self.threshold.detach()


def relu_table(
    x: Float[Tensor, "token width"], W_enc: Float[Tensor, "latent width"], b_enc: Float[Tensor, " latent"]
) -> DenseTable:
    """max(x W_encᵀ + b_enc, 0)."""
    ledger = Ledger()
    return DenseTable(_Encode.apply(x, W_enc, b_enc, None, ledger), None, ledger)


def plain_table(
    x: Float[Tensor, "token width"],
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, " latent"],
    computed: Float[Tensor, "token latent"],
) -> DenseTable:
    """x W_encᵀ + b_enc, which has been `computed`, without gates."""
    ledger = Ledger(whole=False, pre=computed)
    return DenseTable(_Encode.apply(x, W_enc, b_enc, None, ledger), None, ledger)


def jump_table(
    x: Float[Tensor, "token width"],
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, " latent"],
    threshold: Float[Tensor, " latent"],
    norms: Sequence[Float[Tensor, " latent"]],
    window: float,
    whole: bool,
) -> DenseTable:
    """x W_encᵀ + b_enc where it passes the one gate (`whole`), or ungated with a gate per source, as `jump_gate`."""
    ledger = Ledger(tuple(norms), window, whole)
    return DenseTable(_Encode.apply(x, W_enc, b_enc, threshold, ledger), threshold, ledger)
