"""Read and replace activations inside a model with plain PyTorch hooks, and run any part of it.

One block, or every block from one on, is run by the model's own forward with the blocks before it skipped: masks,
rotary tables, sliding windows and logit caps are then the model's own for every architecture, and nothing is copied.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ontogeny.errors import HookPointError, SnapshotError
from ontogeny.snapshots.architectures import Architecture, architecture_of
from ontogeny.snapshots.module_hooks import Replacement, first_tensor, replace_input, replace_output
from ontogeny.types import HookPoint

# A wrapped plain module names its hook points freely, a language model's are `HookPoint`s.
Place = HookPoint | str
PlaceT = TypeVar("PlaceT", bound=HookPoint | str)


@dataclass(frozen=True)
class ForwardOutput:
    """What a forward gave: `logits` [row position vocabulary] and the activations that were asked for."""

    logits: Tensor
    activations: dict[Place, Tensor]


class _AllRead(Exception):
    """Leaves the forward once everything asked for was read; never seen outside this module."""


class HookedModel:
    """A model whose activations can be read, replaced and differentiated at hook points.

    `HookedModel(causal_lm)` for a transformers model of the table, `HookedModel.wrap(module, {name: path})` for any
    other module. A value read at a hook point is what flows on from there: after a replacement, and the very tensor
    that later layers use, so that `torch.autograd.grad(loss, value)` is the gradient at that place.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.architecture: Architecture | None = architecture_of(module.config)  # type: ignore[arg-type]
        sizes = module.config.get_text_config()  # type: ignore[union-attr, operator]
        self._d_model: int | None = int(sizes.hidden_size)
        self.n_layers = int(sizes.num_hidden_layers)
        self._vocab_size: int | None = int(sizes.vocab_size)
        self._named_places: dict[str, nn.Module] = {}

    @classmethod
    def wrap(cls, module: nn.Module, hook_points: Mapping[str, str], d_model: int | None = None) -> "HookedModel":
        """Any module with named hook points; each is the output of the submodule at its dotted path.

        HookPointError if the module has no such submodule.
        """
        wrapped = cls.__new__(cls)
        wrapped.module = module
        wrapped.architecture = None
        wrapped._d_model, wrapped.n_layers, wrapped._vocab_size = d_model, 0, None
        known = dict(module.named_modules())
        for name, path in hook_points.items():
            if path not in known:
                raise HookPointError(
                    f"hook point {name!r}: the module has no submodule {path!r}; "
                    f"it has {', '.join(sorted(known)[1:9])}."
                )
        wrapped._named_places = {name: known[path] for name, path in hook_points.items()}
        return wrapped

    @property
    def d_model(self) -> int:
        """Width of the residual stream, from the model's config; SnapshotError if a wrapped module was given none."""
        if self._d_model is None:
            raise SnapshotError("the width of a wrapped module is not known; give HookedModel.wrap its d_model.")
        return self._d_model

    @property
    def vocab_size(self) -> int:
        """Number of token ids, from the model's config; SnapshotError for a wrapped module."""
        if self._vocab_size is None:
            raise SnapshotError("a wrapped module has no vocabulary.")
        return self._vocab_size

    @property
    def device(self) -> torch.device:
        """Where the first parameter lies."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the model computes in."""
        return next(self.module.parameters()).dtype

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks in order; SnapshotError for a wrapped plain module."""
        blocks = self.module.get_submodule(self._rows().blocks)
        assert isinstance(blocks, nn.ModuleList), f"{self._rows().blocks} is no ModuleList"
        return blocks

    def _rows(self) -> Architecture:
        if self.architecture is None:
            raise SnapshotError(
                "a wrapped plain module has named hook points only, no blocks; add a row to ARCHITECTURES for that."
            )
        return self.architecture

    def check_hook_points(self, hook_points: Iterable[Place]) -> None:
        """HookPointError, naming what there is, if one of them is not in this model."""
        for hook_point in hook_points:
            self._locate(hook_point)

    def _locate(self, hook_point: Place) -> tuple[nn.Module, bool]:
        """The submodule of a hook point, and whether the value is its input rather than its output."""
        if self.architecture is None:
            if str(hook_point) not in self._named_places:
                raise HookPointError(
                    f"hook point {str(hook_point)!r} is not one of this module's: {', '.join(self._named_places)}."
                )
            return self._named_places[str(hook_point)], False
        point = HookPoint.parse(hook_point) if isinstance(hook_point, str) else hook_point
        if point.layer is None:
            return self.module.get_submodule(self.architecture.embedding), False
        if not 0 <= point.layer < self.n_layers:
            raise HookPointError(
                f"hook point {point} is out of range: this model has {self.n_layers} blocks, so layers 0 to "
                f"{self.n_layers - 1}."
            )
        block = self.blocks[point.layer]
        inside = {"attn_out": self.architecture.attn_out, "mlp_out": self.architecture.mlp_out}
        if point.site in inside:
            return block.get_submodule(inside[point.site]), False
        return block, point.site == "resid_pre"

    def read(
        self, tokens: Tensor, hook_points: Iterable[PlaceT], attention_mask: Tensor | None = None
    ) -> dict[PlaceT, Tensor]:
        """Activations [row position d_model] at the hook points; the forward stops after the last one needed.

        `tokens` [row position] (a wrapped module: its own input). HookPointError for a place that isn't there.
        """
        places = list(hook_points)
        activations: dict[PlaceT, Tensor] = {}
        with self.hooked({}, places, activations, stop=True):
            self._run(tokens, attention_mask)
        unread = [str(place) for place in places if place not in activations]
        if unread:
            raise HookPointError(f"hook point {unread[0]!r} was not reached in this forward; its module is not used.")
        return activations

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        replace: Mapping[HookPoint, Replacement] | Mapping[str, Replacement] | None = None,
        read: Iterable[HookPoint | str] = (),
    ) -> ForwardOutput:
        """The whole forward; `replace` maps a hook point to a function of its value [row position d_model].

        Gradients flow through what is read and replaced wherever grad mode is on.
        """
        activations: dict[Place, Tensor] = {}
        with self.hooked(replace or {}, list(read), activations, stop=False):
            logits = self._run(tokens, attention_mask)
        return ForwardOutput(logits, activations)

    __call__ = forward

    def run_block(
        self, layer: int, hidden: Float[Tensor, "row position d_model"], attention_mask: Tensor | None = None
    ) -> Float[Tensor, "row position d_model"]:
        """One block alone: resid_post of `layer` from resid_pre `hidden`, with the model's own masks and positions."""
        after = HookPoint("resid_post", layer)
        return self.read_from(layer, hidden, [after], attention_mask)[after]

    def read_from(
        self,
        layer: int,
        hidden: Float[Tensor, "row position d_model"],
        hook_points: Iterable[PlaceT],
        attention_mask: Tensor | None = None,
    ) -> dict[PlaceT, Tensor]:
        """Activations at later hook points from resid_pre of `layer`; the forward stops after the last one needed."""
        activations: dict[PlaceT, Tensor] = {}
        with self._starting_at(layer, hidden), self.hooked({}, list(hook_points), activations, stop=True):
            self._run_suffix(hidden, attention_mask)
        return activations

    def run_from(
        self,
        layer: int,
        hidden: Float[Tensor, "row position d_model"],
        attention_mask: Tensor | None = None,
        replace: Mapping[HookPoint, Replacement] | Mapping[str, Replacement] | None = None,
    ) -> Float[Tensor, "row position vocabulary"]:
        """Logits from resid_pre of `layer`: blocks `layer` to the last, final norm, unembedding.

        `layer` = n_layers unembeds `hidden` directly. HookPointError out of range.
        """
        if layer == len(self.blocks):
            return self.unembed(hidden)
        with self._starting_at(layer, hidden), self.hooked(replace or {}, [], {}, stop=False):
            return self._run_suffix(hidden, attention_mask)

    def unembed(self, hidden: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any vocabulary"]:
        """Logits of residual-stream vectors: final norm, unembedding, the model's own cap c·tanh(logits / c)."""
        row = self._rows()
        normed = self.module.get_submodule(row.final_norm)(hidden.to(self.dtype))
        logits = self.module.get_submodule(row.unembedding)(normed)
        return row.cap_logits(logits, self.module.config)  # type: ignore[arg-type]

    def _run(self, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        inputs: dict[str, Any] = {}
        if attention_mask is not None:
            inputs["attention_mask"] = attention_mask.to(self.device)
        if self.architecture is not None:
            inputs["use_cache"] = False
        return first_tensor(self.module(tokens.to(self.device), **inputs))

    def _run_suffix(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        mask = None if attention_mask is None else attention_mask.to(self.device)
        # The embeddings only give the shape: the value that enters the first block to run is put there by a hook.
        shape_only = torch.zeros_like(hidden, dtype=self.dtype, device=self.device, requires_grad=False)
        return first_tensor(self.module(inputs_embeds=shape_only, attention_mask=mask, use_cache=False))

    @contextlib.contextmanager
    def _starting_at(self, layer: int, hidden: Tensor) -> Iterator[None]:
        """Skip the blocks before `layer` and let `hidden` enter it."""
        blocks, as_tuple = list(self.blocks), self._blocks_return_tuples
        self._locate(HookPoint("resid_pre", layer))
        value = hidden.to(device=self.device, dtype=self.dtype)
        skipped = blocks[:layer]
        for block in skipped:
            block.forward = lambda state, *_, **__: (state, None) if as_tuple else state
        handle = replace_input(blocks[layer], lambda _: value)
        try:
            yield
        finally:
            handle.remove()
            for block in skipped:
                del block.forward

    @functools.cached_property
    def _blocks_return_tuples(self) -> bool:
        """Whether blocks return tuples (BLOOM) or tensors; asked of block 0 on one position, as releases differ."""
        seen: list[bool] = []

        def look(_: nn.Module, __: Any, output: Any) -> None:
            seen.append(isinstance(output, tuple))
            raise _AllRead

        handle = self.blocks[0].register_forward_hook(look)
        try:
            with torch.no_grad(), contextlib.suppress(_AllRead):
                self._run_suffix(torch.zeros(1, 1, self.d_model), None)
        finally:
            handle.remove()
        return seen[0]

    @contextlib.contextmanager
    def hooked(
        self, replace: Mapping[Any, Replacement], read: list[Any], activations: dict[Any, Tensor], stop: bool
    ) -> Iterator[None]:
        """Hooks in place for one forward; replacements first, so that what is read is what flows on.

        With `stop` the body ends, quietly, once everything asked for was read.
        """
        waiting = set(read)

        def keep(place: Place, value: Tensor) -> Tensor:
            activations[place] = value
            waiting.discard(place)
            if stop and not waiting:
                raise _AllRead
            return value

        handles = []
        try:
            for place, function in replace.items():
                handles.append(self._attach(place, function))
            for place in read:
                handles.append(self._attach(place, functools.partial(keep, place)))
            yield
        except _AllRead:
            pass
        finally:
            for handle in handles:
                handle.remove()

    def _attach(self, place: Place, function: Replacement) -> RemovableHandle:
        module, at_input = self._locate(place)
        return replace_input(module, function) if at_input else replace_output(module, function)
