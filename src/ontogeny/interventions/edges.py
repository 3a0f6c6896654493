"""Edges from the latents of one hook point to those of a later one, in one snapshot, and what they come to.

Upstream latent u moves from what it is on the clean prompt to its baseline. Through the blocks between, made linear
there (`stretch.py`), that moves the later activation by δ_u = J Δc_u d_u. Downstream latent v reads of it

    Δf_uv = <W_enc[v, s] · scale, δ_u> / a_vs        where its gate is on, on the clean prompt; elsewhere 0
    a_vs  = <W_enc[v, s] · scale, d_vs> / Σ_t <W_enc[v, t] · scale, d_vt>

from its own snapshot s alone. The code is shared: with the other snapshots as they are it answers only with the share
a_vs of the evidence that s gives; over that share, it answers as if they had moved alike (`evidence = "whole"`; `own`
leaves the share in; with one source it is 1). The effect of the edge on the metric is

    E_uv = Σ_positions Δf_uv · <d_v, ḡ>        ḡ = mean gradient of the metric along the path, at the later hook point

What else moves upstream (other latents, what is unexplained) has edges into v of its own. Pushing is linear, so the
edges into v add up to what v reads of the whole movement. Source: gradient times activation through held patterns,
arXiv 2403.19647 §3 and Ameisen et al. 2025; here for crosscoders over snapshots.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.errors import DictionaryError
from ontogeny.interventions.effects import EffectBatch, EffectPlan
from ontogeny.interventions.paths import compute_path_gradient
from ontogeny.interventions.stretch import Stretch
from ontogeny.interventions.suffix import read_with
from ontogeny.snapshots.hooks import HookedModel

Evidence = Literal["whole", "own"]
LEAST_SHARE = 0.01
"""A latent to whose evidence a snapshot gives less than this share reads nothing there."""
OTHERS, ERROR = -2, -1
"""Where the two origins that are no chosen latent stand on the origin axis, after the chosen ones."""


@dataclass(frozen=True)
class Readings:
    """What chosen downstream latents read in one batch: `change` [pair origin] of the code of latent `end` [pair] (its
    place among the chosen) at `token` [pair] (counting the positions that move), in units of the code."""

    token: Int[Tensor, " pair"]
    end: Int[Tensor, " pair"]
    change: Float[Tensor, "pair origin"]


@dataclass(frozen=True)
class SnapshotEdges:
    """All edges of one snapshot, prompt by prompt, in nats; origins are the chosen upstream latents, `OTHERS`, `ERROR`.

    `effects` [prompt origin downstream]: E_uv. `through` [prompt origin]: <ḡ, δ_u>, what all of the movement at the
    later hook point comes to, read by a chosen latent or not. `nodes` [prompt downstream]: the effects of the chosen
    downstream latents themselves, Δc_v <d_v, ḡ>. `latents`, `whole` [prompt]: those of all downstream latents, and of
    the whole movement there. `start`, `end` [prompt]: the metric on the clean prompt and at the downstream baseline.
    `weights` [origin downstream]: Σ |Δf_uv| ||d_v||, how far an edge moves the activation. `readings`: by batch.
    """

    effects: Float[np.ndarray, "prompt origin downstream"]
    through: Float[np.ndarray, "prompt origin"]
    nodes: Float[np.ndarray, "prompt downstream"]
    latents: Float[np.ndarray, "prompt"]
    whole: Float[np.ndarray, "prompt"]
    start: Float[np.ndarray, "prompt"]
    end: Float[np.ndarray, "prompt"]
    weights: Float[np.ndarray, "origin downstream"]
    readings: tuple[Readings, ...]


class EdgePlan:
    """Which latents edges run between: the plans of both hook points, over the same prompts in the same batches.

    `starts`, `ends`: the chosen latents upstream and downstream. DictionaryError where the downstream dictionary reads
    other sources than it writes: what it reads of a snapshot is then not what it explains there.
    """

    def __init__(
        self,
        upstream: EffectPlan,
        downstream: EffectPlan,
        starts: Int[np.ndarray, "upstream"],
        ends: Int[np.ndarray, "downstream"],
        evidence: Evidence = "whole",
    ) -> None:
        if downstream.dictionary.is_transcoder:
            raise DictionaryError(
                "edges end at latents that read what they explain; this dictionary writes other sources than it reads."
            )
        for mine, other in zip(upstream.batches, downstream.batches, strict=True):
            assert np.array_equal(mine.numbers, other.numbers), "both plans have the same prompts in the same batches"
        self.upstream, self.downstream, self.starts, self.ends = upstream, downstream, starts, ends
        self.evidence = evidence

    def compute(self, model: HookedModel, start: int, end: int) -> SnapshotEdges:
        """The edges of one snapshot: from source `start` of the upstream dictionary to source `end` of the other."""
        parts = [self._batch(model, start, end, index) for index in range(len(self.upstream.batches))]
        readings = tuple(each for _, each in parts)
        norms = torch.linalg.vector_norm(self.downstream.directions(end, torch.from_numpy(self.ends)), dim=1).double()
        weights = torch.zeros(len(self.ends), len(self.starts) + 2, dtype=torch.float64)
        for each in readings:
            weights.index_add_(0, each.end, each.change.abs().double())
        columns = {key: np.concatenate([found[key] for found, _ in parts]) for key in parts[0][0]}
        return SnapshotEdges(**columns, weights=(weights * norms[:, None]).T.numpy(), readings=readings)

    def _batch(
        self, model: HookedModel, start: int, end: int, index: int
    ) -> tuple[dict[str, Float[np.ndarray, "prompt ..."]], Readings]:
        plan, batch = self.downstream, self.downstream.batches[index]
        prompts, moves = batch.prompts.to(model.device), batch.moves
        hidden, target = batch.hidden[:, :, end], plan.target(batch, end)
        along = compute_path_gradient(
            model,
            plan.hook_points[end],
            prompts,
            hidden.to(model.device),
            target.to(model.device),
            moves.to(model.device),
            plan.rule,
            plan.steps,
        )
        gradient = along.gradient.cpu()
        token, place = self._on(batch, end)
        change, through = self._push(model, start, end, index, gradient, token, place)
        ends = torch.from_numpy(self.ends)
        directions = plan.directions(end, ends)
        row = moves.nonzero()[:, 0][token]
        pull = torch.einsum("pd,pd->p", directions[place], gradient[moves][token])
        effects = torch.zeros(len(prompts), len(ends), change.shape[1], dtype=torch.float64)
        effects.index_put_((row, place), (change * pull[:, None]).double(), accumulate=True)
        nodes = [(plan.movement(batch, end, ends[at : at + 1]) * gradient).sum(dim=(1, 2)) for at in range(len(ends))]
        moved = torch.where(moves[..., None], target - hidden, 0.0)
        found = {
            "effects": effects.transpose(1, 2),
            "through": through,
            "nodes": torch.stack(nodes, dim=1) if nodes else effects.new_zeros(len(prompts), 0),
            "latents": (plan.movement(batch, end) * gradient).sum(dim=(1, 2)),
            "whole": (moved * gradient).sum(dim=(1, 2)),
            "start": along.start.cpu(),
            "end": along.end.cpu(),
        }
        return {key: value.double().numpy() for key, value in found.items()}, Readings(token, place, change)

    def _on(self, batch: EffectBatch, end: int) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]:
        """Where chosen downstream latents are on in a source, on the clean prompts: the token, and which one."""
        places = torch.full((self.downstream.dictionary.n_latents,), -1)
        places[torch.from_numpy(self.ends)] = torch.arange(len(self.ends))
        place = places[batch.codes.indices.cpu()]
        chosen = (place >= 0) & batch.codes.gate(end).cpu()
        return batch.codes.tokens.cpu()[chosen], place[chosen]

    def _push(
        self,
        model: HookedModel,
        start: int,
        end: int,
        index: int,
        gradient: Float[Tensor, "prompt position d_model"],
        token: Int[Tensor, " pair"],
        place: Int[Tensor, " pair"],
    ) -> tuple[Float[Tensor, "pair origin"], Float[Tensor, "prompt origin"]]:
        """What every origin changes in the codes that are on, and in the metric."""
        batch, moves = self.upstream.batches[index], self.downstream.batches[index].moves
        prompts, hidden = batch.prompts.to(model.device), batch.hidden[:, :, start].to(model.device)
        points = self.upstream.hook_points[start], self.downstream.hook_points[end]
        stretch = Stretch(model, prompts.tokens, prompts.attention, *points, hidden)
        reading = self._encoders(end)[place]
        changes, through = [], []
        for movement in self._origins(batch, start):
            if not movement.any():
                changes.append(reading.new_zeros(len(token)))
                through.append(reading.new_zeros(len(batch.prompts)))
                continue
            pushed = torch.where(moves[..., None], stretch.push(movement.to(model.device)).cpu().float(), 0.0)
            changes.append(torch.einsum("pd,pd->p", reading, pushed[moves][token]))
            through.append((pushed * gradient).sum(dim=(1, 2)))
        return torch.stack(changes, dim=1), torch.stack(through, dim=1)

    def _encoders(self, end: int) -> Float[Tensor, "downstream d_model"]:
        """What a unit of the raw activation of one source adds to the codes of the chosen latents."""
        dictionary, ends = self.downstream.dictionary, torch.from_numpy(self.ends)
        encoders = (dictionary.W_enc[ends, end] * dictionary.scale[end]).detach().cpu().float()
        share = self.shares(end)
        known = share >= LEAST_SHARE
        return torch.where(known[:, None], encoders / torch.where(known, share, 1.0)[:, None], 0.0)

    def shares(self, end: int) -> Float[Tensor, " downstream"]:
        """a_vs: how much of the evidence for the chosen latents is this source's; 1 with `evidence = "own"`."""
        dictionary, ends = self.downstream.dictionary, torch.from_numpy(self.ends)
        if self.evidence == "own":
            return torch.ones(len(ends))
        by_source = (dictionary.W_enc[ends] * dictionary.W_dec[ends]).sum(dim=2).detach().cpu().float()
        return by_source[:, end] / by_source.sum(dim=1)

    def _origins(self, batch: EffectBatch, start: int) -> list[Float[Tensor, "prompt position d_model"]]:
        """The movements upstream: of every chosen latent, of the other latents, of what is unexplained."""
        plan = self.upstream
        own = [plan.movement(batch, start, torch.tensor([int(latent)])) for latent in self.starts]
        every = plan.movement(batch, start)
        chosen = torch.stack(own).sum(dim=0) if own else torch.zeros_like(every)
        whole = torch.where(batch.moves[..., None], plan.target(batch, start) - batch.hidden[:, :, start], 0.0)
        return [*own, every - chosen, whole - every]

    # ---- edges moved in the model ----------------------------------------------------------------------------------

    def movement(
        self, edges: SnapshotEdges, index: int, end: int, chosen: Bool[np.ndarray, "origin downstream"]
    ) -> Float[Tensor, "prompt position d_model"]:
        """What some edges together move at the later hook point: Σ Δf_uv d_v, in one batch."""
        batch, readings = self.downstream.batches[index], edges.readings[index]
        by = (readings.change * torch.from_numpy(chosen).T[readings.end]).sum(dim=1)
        directions = self.downstream.directions(end, torch.from_numpy(self.ends))
        moved = directions.new_zeros(int(batch.moves.sum()), directions.shape[1])
        moved.index_add_(0, readings.token, directions[readings.end] * by[:, None])
        out = torch.zeros_like(batch.hidden[:, :, end])
        out[batch.moves] = moved
        return out

    @torch.no_grad()
    def compute_exact(
        self,
        model: HookedModel,
        start: int,
        end: int,
        edges: Int[np.ndarray, "edge 2"],
        wanted: Bool[np.ndarray, "all"],
    ) -> Float[np.ndarray, "all edge"]:
        """m with one edge patched, less m: u moves, and v alone, by what its real code then does; 0 if not wanted.

        Nothing is held: the blocks between run as they are, the activation function decides anew what is on.
        `edges` are places among the chosen latents. Source: path patching, Goldowsky-Dill et al. 2023.
        """
        out = np.zeros((sum(len(batch.numbers) for batch in self.upstream.batches), len(edges)))
        for index, batch in enumerate(self.upstream.batches):
            rows = torch.from_numpy(np.flatnonzero(wanted[batch.numbers]))
            for first in np.unique(edges[:, 0]) if len(rows) else ():
                codes = self._codes_after(model, start, end, index, int(first))
                for at in np.flatnonzero(edges[:, 0] == first):
                    moved = self._answer(codes, index, end, int(edges[at, 1]))
                    out[batch.numbers[rows.numpy()], at] = self._difference(model, index, end, moved, rows)
        return out

    def _codes_after(self, model: HookedModel, start: int, end: int, index: int, first: int) -> Codes:
        """The downstream codes at the positions that move, upstream latent `first` moved in this snapshot."""
        batch, plan, later = self.upstream.batches[index], self.upstream, self.downstream.batches[index]
        state = batch.hidden[:, :, start] + plan.movement(batch, start, torch.tensor([int(self.starts[first])]))
        prompts = batch.prompts.to(model.device)
        points = plan.hook_points[start], self.downstream.hook_points[end]
        reached = read_with(model, prompts.tokens, prompts.attention, points[0], state.to(model.device), points[1])
        rows = later.hidden[later.moves].clone()
        rows[:, end] = reached.float().cpu()[later.moves]
        dictionary = self.downstream.dictionary
        return dictionary.encode(rows.to(dictionary.W_enc.device)).sparse()

    def _answer(self, codes: Codes, index: int, end: int, last: int) -> Float[Tensor, "prompt position d_model"]:
        """What downstream latent `last` adds when its codes are these instead of the clean ones; a change of what stays
        on is over the share of its evidence that moved, and does not go below 0."""
        plan, batch = self.downstream, self.downstream.batches[index]
        latent, share = int(self.ends[last]), float(self.shares(end)[last])
        after, before = (self._column(each, end, latent) for each in (codes, batch.codes))
        by = after - before
        if share >= LEAST_SHARE:
            by = torch.where((after > 0) & (before > 0), torch.maximum(by / share, -before), by)
        out = torch.zeros_like(batch.hidden[:, :, end])
        out[batch.moves] = by[:, None] * plan.directions(end, torch.tensor([latent]))
        return out

    @staticmethod
    def _column(codes: Codes, end: int, latent: int) -> Float[Tensor, " token"]:
        """One latent's code where its gate is on in a source."""
        own = codes.indices == latent
        out = codes.values.new_zeros(codes.n_tokens)
        out.index_add_(0, codes.tokens[own], codes.gated(end)[own])
        return out.cpu().float()

    def _difference(
        self, model: HookedModel, index: int, end: int, moved: Tensor, rows: Int[Tensor, " chosen"]
    ) -> Float[np.ndarray, "chosen"]:
        plan, batch = self.downstream, self.downstream.batches[index]
        hidden = batch.hidden[:, :, end]
        out = np.zeros(len(rows))
        touched = moved[rows].flatten(1).any(dim=1).nonzero()[:, 0]
        if len(touched):
            prompts, own = batch.prompts.take(rows[touched]).to(model.device), rows[touched]
            before, after = (
                plan.measure(model, end, prompts, state[own].to(model.device)) for state in (hidden, hidden + moved)
            )
            out[touched.numpy()] = (after - before).cpu().double().numpy()
        return out
