"""Many latents changed together: what is left of a behaviour without them, and with nothing but them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.interventions.edits import check_latents
from ontogeny.interventions.effects import EffectBatch, EffectPlan
from ontogeny.interventions.prompts import Prompts
from ontogeny.snapshots.hooks import HookedModel

Mode = Literal["ablate", "keep"]
Rest = Literal["kept", "moved"]
MOST_ROWS = 256
"""Rows of one forward: prompts times sets of latents."""


def measure_nested(
    plan: EffectPlan,
    model: HookedModel,
    source: int,
    order: Int[np.ndarray, "ranked"],
    counts: Sequence[int],
    *,
    mode: Mode = "ablate",
    error: Rest = "kept",
    wanted: Bool[np.ndarray, "all"] | None = None,
) -> Float[np.ndarray, "prompt count"]:
    """The metric with the first n latents of `order` at their baseline, or (keep) with all others there.

    ablate: x + sum over i in S_n of (c'_i - c_i) d_i;   keep: the same sum over all latents that are not in S_n
    error = "moved": what the dictionary leaves unexplained goes to the baseline as well, + (e' - e)

    At the positions that move, n through ascending `counts`; one forward of the blocks after the hook point a batch and
    count. Prompts are those `wanted` (all by default), in order. DictionaryError for a latent out of range.
    Source: faithfulness and completeness of circuits, arXiv 2403.19647 §4; without edges.
    """
    assert plan.path == "joint", "the error's way is chosen here, not by the path"
    assert list(counts) == sorted(counts), "counts ascend"
    check_latents([int(each) for each in order], plan.dictionary.n_latents)
    found = []
    for batch in plan.batches:
        here = np.ones(len(batch.numbers), dtype=bool) if wanted is None else wanted[batch.numbers]
        if here.any():
            found.append(_measure_batch(plan, model, source, batch, order, counts, mode, error, here))
    return np.concatenate(found) if found else np.zeros((0, len(counts)))


@torch.no_grad()
def _measure_batch(
    plan: EffectPlan,
    model: HookedModel,
    source: int,
    batch: EffectBatch,
    order: Int[np.ndarray, "ranked"],
    counts: Sequence[int],
    mode: Mode,
    error: Rest,
    here: Bool[np.ndarray, "prompt"],
) -> Float[np.ndarray, "chosen count"]:
    rows = torch.from_numpy(np.flatnonzero(here))
    hidden = batch.hidden[:, :, source]
    whole = plan.movement(batch, source)
    start = hidden
    if error == "moved":
        target = torch.where(batch.moves[..., None], plan.target(batch, source), hidden)
        start = target - whole
    moved = torch.zeros_like(hidden)
    states, done = [], 0
    for count in counts:
        if count > done:
            moved = moved + plan.movement(batch, source, torch.from_numpy(order[done:count]))
            done = count
        states.append((start + moved if mode == "ablate" else start + (whole - moved))[rows])
    return _run(plan, model, source, batch.prompts.take(rows), states)


def _run(
    plan: EffectPlan, model: HookedModel, source: int, prompts: Prompts, states: list[Tensor]
) -> Float[np.ndarray, "prompt count"]:
    """The metric in every state, several states of the prompts in one forward: small batches are mostly overhead."""
    at_once = max(MOST_ROWS // len(prompts), 1)
    columns = [torch.zeros(len(prompts), 0, dtype=torch.float64)]
    for first in range(0, len(states), at_once):
        some = states[first : first + at_once]
        repeated = prompts.take(torch.arange(len(prompts)).repeat(len(some))).to(model.device)
        metric = plan.measure(model, source, repeated, torch.cat(some).to(model.device))
        columns.append(metric.cpu().double().view(len(some), len(prompts)).T)
    return np.asarray(torch.cat(columns, dim=1).numpy())
