"""A model over rows of tokens that grow: what it computed of earlier tokens is kept, and only new ones are run."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from ontogeny.snapshots.hooks import ForwardOutput, HookedModel
from ontogeny.snapshots.module_hooks import Replacement, first_tensor
from ontogeny.types import HookPoint


class GrowingRows:
    """One model, some rows of equal length without padding, extended by one or more tokens at a time.

    `read`: hook points whose activations every extension gives; with `logits` false the forward stops after the last of
    them. `replace` maps hook points to functions of the values at the NEW positions alone [row new d_model]; what they
    made of earlier ones lives on in the keys and values. `cached` = False runs all tokens anew each time, with the
    replaced values of earlier positions kept: the slow form of the same thing. `instead`: ids that this model reads for
    others (template tokens that it does not know).
    """

    def __init__(
        self,
        model: HookedModel,
        read: Sequence[HookPoint] = (),
        replace: Mapping[HookPoint, Replacement] | None = None,
        *,
        logits: bool = True,
        cached: bool = True,
        instead: Mapping[int, int] | None = None,
    ) -> None:
        model.check_hook_points([*read, *(replace or {})])
        self.model, self.read, self.replace, self.logits = model, list(read), dict(replace or {}), logits
        self.instead = dict(instead or {})
        # Before the first block nothing is kept: a cache would not know how many tokens there were.
        in_blocks = logits or any(point.layer is not None and point != HookPoint("resid_pre", 0) for point in read)
        self.cached = cached and in_blocks
        self._cache = DynamicCache(config=model.module.config) if self.cached else None  # type: ignore[arg-type]
        self._tokens: Tensor | None = None
        self._replaced: dict[HookPoint, Tensor] = {}

    @torch.no_grad()
    def extend(self, tokens: Int[Tensor, "row new"]) -> ForwardOutput:
        """Logits [row new vocab] (empty without `logits`) and activations [row new d_model] of the new tokens."""
        original = tokens.to(self.model.device)
        tokens = original.clone()
        for token, other in self.instead.items():
            tokens[original == token] = other
        if self.cached:
            return self._run(tokens, self.replace)
        before = 0 if self._tokens is None else self._tokens.shape[1]
        self._tokens = tokens if self._tokens is None else torch.cat([self._tokens, tokens], dim=1)
        output = self._run(self._tokens, {point: self._keeping(point, before) for point in self.replace})
        activations = {point: value[:, before:] for point, value in output.activations.items()}
        return ForwardOutput(output.logits[:, before:] if self.logits else output.logits, activations)

    def _run(self, tokens: Tensor, replace: Mapping[HookPoint, Replacement]) -> ForwardOutput:
        activations: dict[HookPoint | str, Tensor] = {}
        logits = torch.empty(0, device=self.model.device)
        with self.model.hooked(replace, self.read, activations, stop=not self.logits):
            logits = first_tensor(self.model.module(tokens, past_key_values=self._cache, use_cache=self.cached))
        return ForwardOutput(logits, activations)

    def _keeping(self, point: HookPoint, before: int) -> Replacement:
        """The replacement of all positions: what earlier ones were replaced by, and the function of the new ones."""

        def replace(value: Tensor) -> Tensor:
            new = self.replace[point](value[:, before:]).to(value)
            earlier = self._replaced.get(point, value[:, :0])
            self._replaced[point] = torch.cat([earlier, new], dim=1)
            return self._replaced[point]

        return replace
