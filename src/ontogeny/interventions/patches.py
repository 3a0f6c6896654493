"""Patches: an edited activation of one snapshot, put into the same or another one, which runs on from there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.interventions.clean import CleanRun
from ontogeny.interventions.edits import Chain, Edit, Parts
from ontogeny.interventions.suffix import run_with
from ontogeny.types import HookPoint

AS_IT_IS = Chain()
"""The edit that changes nothing."""


@dataclass(frozen=True)
class Patch:
    """The activation of source `start` at a hook point, edited, run on in the snapshot of source `runs_in`.

    Edits are made at the kept positions; at the others (BOS, padding) the activation of `start` stays as it is, since
    no dictionary ever saw them.
    """

    name: str
    hook_point: HookPoint
    start: int
    runs_in: int
    edit: Edit = AS_IT_IS

    @property
    def is_clean(self) -> bool:
        """Whether it is the untouched snapshot."""
        return self.start == self.runs_in and self.edit == AS_IT_IS


@torch.no_grad()
def run_patch(
    patch: Patch, runs: Mapping[int, CleanRun], keep: Bool[Tensor, "row position"], parts: Parts
) -> Float[Tensor, "row position vocab"]:
    """The logits under a patch; in the residual stream only the blocks after the hook point run.

    `runs`: the clean run of every source's snapshot over the same rows; `parts`: of their kept positions, in order.
    """
    on = runs[patch.runs_in]
    if patch.is_clean:
        return on.logits
    hidden = runs[patch.start].hidden[patch.hook_point].clone()
    hidden[keep] = patch.edit(hidden[keep].float(), parts).to(hidden)
    return run_with(on.model, on.tokens, on.mask, patch.hook_point, hidden)
