"""Running a model from a hook point on, to its end or to a later hook point, with another activation there."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint


def run_with(
    model: HookedModel,
    tokens: Int[Tensor, "row position"],
    mask: Tensor | None,
    hook_point: HookPoint,
    replaced: Float[Tensor, "row position d_model"],
) -> Float[Tensor, "row position vocab"]:
    """Logits with the activation at the hook point `replaced`; in the residual stream only the blocks after it run."""
    first = _first_block(hook_point)
    if first is not None:
        return model.run_from(first, replaced, mask)
    return model.forward(tokens, mask, replace={hook_point: lambda _: replaced}).logits


def run_to_last(
    model: HookedModel,
    tokens: Int[Tensor, "row position"],
    mask: Tensor | None,
    hook_point: HookPoint,
    replaced: Float[Tensor, "row position d_model"],
    last: Int[Tensor, " row"],
) -> Float[Tensor, "row vocab"]:
    """What `run_with` gives at one position a row; in the residual stream no other position is unembedded."""
    first, rows = _first_block(hook_point), torch.arange(len(tokens), device=replaced.device)
    if first is None:
        return run_with(model, tokens, mask, hook_point, replaced)[rows, last]
    end = HookPoint("resid_post", len(model.blocks) - 1)
    hidden = replaced if first == len(model.blocks) else model.read_from(first, replaced, [end], mask)[end]
    return model.unembed(hidden[rows, last])


def read_with(
    model: HookedModel,
    tokens: Int[Tensor, "row position"],
    mask: Tensor | None,
    hook_point: HookPoint,
    replaced: Float[Tensor, "row position d_model"],
    later: HookPoint,
) -> Float[Tensor, "row position d_model"]:
    """The activation at a later hook point with that at `hook_point` replaced; blocks outside are not run."""
    first = _first_block(hook_point)
    if first is not None:
        return model.read_from(first, replaced, [later], mask)[later]
    return model.forward(tokens, mask, replace={hook_point: lambda _: replaced}, read=[later]).activations[later]


def depth(hook_point: HookPoint) -> tuple[int, int]:
    """Where a hook point lies on the way through a model: what computes earlier compares as less."""
    if hook_point.layer is None or hook_point.site == "resid_pre":
        return ((hook_point.layer or 0) - 1, 2)
    return (hook_point.layer, {"attn_out": 0, "mlp_out": 1, "resid_post": 2}[hook_point.site])


def _first_block(hook_point: HookPoint) -> int | None:
    """The block that a residual hook point enters; None for a place inside a block, or before the first one."""
    if hook_point.layer is None or hook_point.site not in ("resid_pre", "resid_post"):
        return None
    return hook_point.layer + (hook_point.site == "resid_post")
