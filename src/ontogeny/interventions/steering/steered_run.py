"""One snapshot, or the lower half of one under the upper half of another, run with its activations changed."""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.interventions.edits import Chain, Parts
from ontogeny.interventions.steering.plan import SteeringPlan
from ontogeny.snapshots.growing_rows import GrowingRows
from ontogeny.snapshots.hooks import ForwardOutput, HookedModel
from ontogeny.snapshots.module_hooks import Replacement
from ontogeny.types import HookPoint


class SteeredRun:
    """Rows that grow under the edits of a plan.

    `random`: per hook point one unit vector a row; each change δ of an activation is then replaced by ‖δ‖ times that
    vector: the control, as long as the change at every token and in no direction of the dictionary. Of two halves the
    change is what the lower one, edited, brings to the upper one.
    """

    def __init__(
        self,
        plan: SteeringPlan,
        models: Mapping[str, HookedModel],
        random: Mapping[HookPoint, Float[Tensor, "row d_model"]] | None = None,
        *,
        cached: bool = True,
    ) -> None:
        self.random, self.cut = random, plan.cut
        self.edits = {point: Chain(tuple(edits)) for point, edits in plan.edits.items()}
        self.parts = Parts()
        self._hidden = torch.empty(0)
        upper: dict[HookPoint, Replacement] = {
            point: partial(self._edit, point) for point in self.edits if not plan.runs_below(point)
        }
        self.lower: GrowingRows | None = None
        if plan.lower is not None and self.cut is not None:
            below = {point: partial(self._edited, point) for point in self.edits if plan.runs_below(point)}
            label = plan.lower[0]
            instead = plan.instead.get(label)
            self.lower = GrowingRows(models[label], [self.cut], below, logits=False, cached=cached, instead=instead)
            upper[self.cut] = self._enter
        label = plan.request.snapshot
        self.upper = GrowingRows(models[label], replace=upper, cached=cached, instead=plan.instead.get(label))

    def extend(self, tokens: Int[Tensor, "row new"], parts: Parts) -> ForwardOutput:
        """What the changed model makes of the new tokens; `parts`: theirs, row after row."""
        self.parts = parts
        if self.lower is not None and self.cut is not None:
            self._hidden = self.lower.extend(tokens).activations[self.cut]
        return self.upper.extend(tokens)

    def _edited(self, point: HookPoint, value: Float[Tensor, "row new d_model"]) -> Float[Tensor, "row new d_model"]:
        """The value after the edits of a hook point."""
        edited = self.edits[point](value.flatten(0, 1).float(), self.parts)
        return edited.unflatten(0, value.shape[:2]).to(value)

    def _edit(self, point: HookPoint, value: Float[Tensor, "row new d_model"]) -> Float[Tensor, "row new d_model"]:
        return self._turned(point, value, self._edited(point, value))

    def _enter(self, value: Float[Tensor, "row new d_model"]) -> Float[Tensor, "row new d_model"]:
        assert self.cut is not None, "only a cut is entered"
        return self._turned(self.cut, value, self._hidden.to(value))

    def _turned(
        self, point: HookPoint, value: Float[Tensor, "row new d_model"], changed: Float[Tensor, "row new d_model"]
    ) -> Float[Tensor, "row new d_model"]:
        """The changed value, or the control's; where nothing changed the value itself, bit for bit."""
        if self.random is None:
            return changed
        length = (changed.float() - value.float()).norm(dim=-1, keepdim=True)
        return (value.float() + length * self.random[point].to(length)[:, None]).to(value)


def draw_directions(plan: SteeringPlan, rows: int, d_model: int, seed: int) -> dict[HookPoint, Tensor]:
    """Unit vectors [row d_model] for every place where the plan changes something, from the seed."""
    generator = torch.Generator().manual_seed(seed)
    points = [*plan.edits, *([plan.cut] if plan.cut is not None else [])]
    drawn = {point: torch.randn(rows, d_model, generator=generator) for point in dict.fromkeys(points)}
    return {point: value / value.norm(dim=-1, keepdim=True) for point, value in drawn.items()}
