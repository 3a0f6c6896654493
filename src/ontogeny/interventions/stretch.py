"""The stretch of a model between two hook points, made linear around what it computes on some prompts.

Attention patterns and the scales of norms are held at what they are there, so that what an activation does to where
a model looks, or to how large a norm divides, does not count. With the patterns A_h and the scales σ held,

    attention(x) = sum_h A_h (x W_V) W_O        N(x) = γ ⊙ (x − m mean(x)) / σ + β

are linear in x; what is left that is not, the MLP's nonlinearity, enters with its true slope. The table of
architectures says where attention and norms are; patterns are caught where any of them computes them, in softmax or in
PyTorch's fused attention. Source: Elhage et al. 2021 (held patterns); Marks et al., arXiv 2403.19647; Ameisen et al.
2025 (held norms).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ontogeny.errors import SnapshotError
from ontogeny.interventions.suffix import read_with
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.unembedding import centre, inverse_scales, probe_norm
from ontogeny.types import HookPoint

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


class Stretch:
    """The linear map of movements of the activation at `start` to movements of that at `end`, on some prompts.

    `hidden` [row position d_model]: the activation at `start` there; `output`: that at `end`. One forward and one
    backward build the graph that every `push` goes through. SnapshotError for a wrapped plain module, for a norm that
    is neither LayerNorm nor RMSNorm, and where an attention computes its pattern out of sight.
    """

    def __init__(
        self,
        model: HookedModel,
        tokens: Int[Tensor, "row position"],
        mask: Tensor | None,
        start: HookPoint,
        end: HookPoint,
        hidden: Float[Tensor, "row position d_model"],
    ) -> None:
        with torch.enable_grad(), _without_weights(model), _held(model):
            entering = hidden.detach().clone().requires_grad_(True)
            leaving = read_with(model, tokens, mask, start, entering, end)
            # J^T w is linear in w, and its derivative in w along a movement is J times the movement.
            self._weight = torch.zeros_like(leaving, requires_grad=True)
            self._pulled: Tensor | None = None
            if leaving.requires_grad:
                (self._pulled,) = torch.autograd.grad(leaving, entering, self._weight, create_graph=True)
        self.output = leaving.detach()

    def push(self, movement: Float[Tensor, "row position d_model"]) -> Float[Tensor, "row position d_model"]:
        """What a movement at `start` adds at `end`: the Jacobian J times the movement; 0 where nothing gets there."""
        if self._pulled is None:
            return torch.zeros_like(self.output)
        (pushed,) = torch.autograd.grad(self._pulled, self._weight, movement.to(self._pulled), retain_graph=True)
        return pushed


@contextlib.contextmanager
def _without_weights(model: HookedModel) -> Iterator[None]:
    """Gradients of activations alone."""
    wanted = [each for each in model.module.parameters() if each.requires_grad]
    for each in wanted:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in wanted:
            each.requires_grad_(True)


class _Patterns(TorchFunctionMode):
    """Takes attention patterns out of the graph while a block's attention runs; `layer` says which, None outside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: int | None = None
        self.seen: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.layer is not None and func in _SOFTMAX:
            self.seen.add(self.layer)
            return func(*args, **kwargs).detach()
        if self.layer is not None and func is functional.scaled_dot_product_attention:
            self.seen.add(self.layer)
            return _attend(*args, **kwargs)
        return func(*args, **kwargs)


def _attend(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Fused attention with its pattern held."""
    # With the unit vectors as values, attention gives the pattern itself, masks and grouped heads included.
    units = torch.eye(key.shape[-2], dtype=value.dtype, device=value.device).expand(*key.shape[:-1], -1)
    pattern = functional.scaled_dot_product_attention(query.detach(), key.detach(), units, *args, **kwargs)
    return pattern @ value.repeat_interleave(pattern.shape[-3] // value.shape[-3], dim=-3)


@contextlib.contextmanager
def _held(model: HookedModel) -> Iterator[None]:
    """Patterns and scales held in every block that runs."""
    row = model.architecture
    blocks, patterns = model.blocks, _Patterns()
    assert row is not None, "a model with blocks has an architecture"
    handles: list[RemovableHandle] = []

    def enter(layer: int) -> None:
        patterns.layer = layer

    def leave(layer: int) -> None:
        patterns.layer = None
        if layer not in patterns.seen:
            raise SnapshotError(
                f"the attention of block {layer} computes its pattern out of sight; load the model with "
                'attn_implementation = "eager".'
            )

    try:
        for layer, block in enumerate(blocks):
            attention = block.get_submodule(row.attention)
            handles.append(attention.register_forward_pre_hook(lambda *_, at=layer: enter(at)))
            handles.append(attention.register_forward_hook(lambda *_, at=layer: leave(at)))
            handles += [_hold_norm(model, block.get_submodule(path)) for path in row.norms]
        with patterns:
            yield
    finally:
        for handle in handles:
            handle.remove()


def _hold_norm(model: HookedModel, norm: nn.Module) -> RemovableHandle:
    """From here on the norm divides by what it does, but as if by a constant."""
    gain, centred = probe_norm(norm, model.d_model, model.device, model.dtype)
    offset = norm(torch.zeros(model.d_model, device=model.device, dtype=model.dtype)).float()

    def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        straight = gain * centre(args[0].float(), centred)
        scale = inverse_scales(output.detach().float() - offset, straight.detach())
        return (straight * scale[..., None] + offset).to(output.dtype)

    return norm.register_forward_hook(hook)
