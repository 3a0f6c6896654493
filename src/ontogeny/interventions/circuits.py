"""Sets of edges run in the model: what the metric is without them, and with nothing but them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.interventions.edges import EdgePlan, SnapshotEdges
from ontogeny.snapshots.hooks import HookedModel

Mode = Literal["prune", "keep", "ablate"]
Circuit = Bool[np.ndarray, "upstream downstream"]


@torch.no_grad()
def measure_circuits(
    plan: EdgePlan,
    model: HookedModel,
    end: int,
    edges: SnapshotEdges,
    circuits: Sequence[Circuit],
    mode: Mode,
    wanted: Bool[np.ndarray, "all"],
) -> Float[np.ndarray, "prompt circuit"]:
    """The metric of the wanted prompts, in order, with edges moved at the later hook point, each by Σ Δf_uv d_v.

    prune: x + traced edges that are not in the circuit; keep: x' less the circuit's edges, so that all else is at the
    baseline; ablate: x + the circuit's edges. One forward of the blocks after the hook point a batch and circuit.
    Source: faithfulness and completeness, arXiv 2403.19647 §4, of edges.
    """
    found = []
    for index, batch in enumerate(plan.downstream.batches):
        rows = torch.from_numpy(np.flatnonzero(wanted[batch.numbers]))
        if not len(rows):
            continue
        hidden = batch.hidden[:, :, end]
        target = torch.where(batch.moves[..., None], plan.downstream.target(batch, end), hidden)
        prompts = batch.prompts.take(rows).to(model.device)
        columns = []
        for circuit in circuits:
            moved = _moved(plan, edges, index, end, ~circuit if mode == "prune" else circuit)
            state = target - moved if mode == "keep" else hidden + moved
            columns.append(plan.downstream.measure(model, end, prompts, state[rows].to(model.device)).cpu())
        found.append(torch.stack(columns, dim=1).double().numpy())
    return np.concatenate(found) if found else np.zeros((0, len(circuits)))


def _moved(
    plan: EdgePlan, edges: SnapshotEdges, index: int, end: int, chosen: Circuit
) -> Float[Tensor, "prompt position d_model"]:
    """Edges between chosen latents, and none of those from what else moves upstream."""
    origins = np.zeros(edges.weights.shape, dtype=bool)
    origins[: len(chosen)] = chosen
    return plan.movement(edges, index, end, origins)
