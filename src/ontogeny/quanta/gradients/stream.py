"""Gradients of single tokens' losses at every parameter, a few blocks at a time from the top, given to sums.

The gradient of a linear map at sample i is G_i = Σ_t b_it a_itᵀ, with a its input and b the gradient at its output,
over the tokens before the predicted one: what comes after has no gradient, so the context is cut there, and logits are
made at one position. One forward keeps the residual stream x before every stage, a run of blocks. From the top down a
stage is run again from its x, the gradient dx above it is taken back through it, and (a, b) of its maps go to the sums.
Forward and backward cost 8 · parameters · N · length, 6 where all blocks are one stage, whatever N is.

In the top block all but keys and values matter at the last position only: those maps are run there alone, and their
G_i is an outer product.
"""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ontogeny.errors import AnalysisError
from ontogeny.quanta.gradients.embeddings import HeadGradients, add_embeddings, drop_head
from ontogeny.quanta.gradients.parameters import Part, block_parts, final_parts, is_tied, iter_modules
from ontogeny.quanta.gradients.pieces import Piece, plan_passes
from ontogeny.quanta.gradients.residuals import Residuals
from ontogeny.quanta.gradients.samples import Samples
from ontogeny.quanta.gradients.state import StreamState
from ontogeny.quanta.gradients.sums import PairSums, Sums
from ontogeny.quanta.gradients.taps import NOWHERE, AtEnds, Flow, Tap, frozen, gradients_at, tapped
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

WORKING_SHARE = 0.2
"""Of the memory budget, what forwards and products need."""
GRAPH_WIDTH = 32
"""Numbers of d_model that the graph of a block holds for a position, about."""
REPEATED_FLOP = 1e11
"""Work that a killed call may lose: a stage of more is one block."""


@dataclass(frozen=True)
class Stage:
    """Blocks first … last, run together; `parts` of theirs and, at the top, of the final norm."""

    first: int
    last: int
    parts: tuple[Part, ...]


class GradientStream:
    """One computation: samples, the residual stream before every stage, the gradient below what is done."""

    def __init__(
        self,
        model: HookedModel,
        samples: Samples,
        groups: Sequence[str],
        sums: Sums,
        memory: float,
        spill: Path,
        kept: Path | None = None,
    ) -> None:
        """`memory` in GB; `spill`: a folder for what memory does not hold; `kept`: where finished stages are kept.

        AnalysisError for a budget in which not one row of a matrix fits.
        """
        self.model, self.samples, self.groups, self.sums, self.memory = model, samples, tuple(groups), sums, memory
        self.kept = kept
        self.top = model.n_layers - 1
        self.at_ends = modules_at_ends(model) & set(iter_modules(self._parts(self.top)))
        self.outer = {part for part in self._parts(self.top) if part.is_matrix and part.module in self.at_ends}
        self.outer = self.outer if sums.outer else set()
        self._lay_out(spill)
        self.is_tied = is_tied(model)
        self.wants_head = "unembedding" in self.groups or (self.is_tied and "embeddings" in self.groups)
        self.head = HeadGradients()

    def _parts(self, layer: int) -> list[Part]:
        parts = block_parts(self.model, layer)
        if layer == self.top:
            parts = [*final_parts(self.model), *parts]
        return [part for part in parts if part.group in self.groups]

    def _lay_out(self, spill: Path) -> None:
        """Residuals in memory if that leaves half of the room to gradients, else on disk."""
        n_samples, wide = len(self.samples), 8 if self.model.dtype == torch.float64 else 4
        fixed = self.sums.fixed_bytes(len(self.groups), self.model.n_layers)
        room = self.memory * 1e9 * (1 - WORKING_SHARE) - fixed
        slot = Residuals.count(self.samples) * self.model.d_model * wide
        needed = (self.model.n_layers + 1) * slot
        on_disk = needed > room / 2
        free = room - (0 if on_disk else needed)
        self.capacity = int(free // self.sums.kept_bytes) if self.sums.kept_bytes else None
        if self.capacity is not None and self.capacity < 1:
            raise AnalysisError(
                f"{self.memory:g} GB do not hold the matrices of {n_samples} tokens ({fixed / 1e9:.3g} GB); raise "
                "memory, ask for fewer groups, or take fewer tokens."
            )
        self.stages = self._plan_stages()
        dtype = torch.float64 if self.model.dtype == torch.float64 else torch.float32
        file = spill / "residuals" if on_disk else None
        self.residuals = Residuals(len(self.stages) + 1, self.samples, self.model.d_model, dtype, file)

    def _plan_stages(self) -> list[Stage]:
        """Runs of blocks, from the top, of which gradients and graph fit together; of little work if they are kept."""
        longest = max(self.samples.real(batch).numel() for batch in self.samples.batches)
        graph = longest * GRAPH_WIDTH * self.model.d_model * self.model.dtype.itemsize
        n_blocks = max(1, int(self.memory * 1e9 * WORKING_SHARE / 2 // graph))
        stages: list[Stage] = []
        for layer in reversed(range(self.model.n_layers)):
            parts = tuple(self._parts(layer))
            if stages and stages[-1].last - layer < n_blocks:
                joined = Stage(layer, stages[-1].last, (*stages[-1].parts, *parts))
                if self._fits(joined.parts):
                    stages[-1] = joined
                    continue
            stages.append(Stage(layer, layer, parts))
        return stages

    def _fits(self, parts: Sequence[Part]) -> bool:
        entries = sum(Piece(part, 0, part.rows, part in self.outer).entries for part in parts)
        work = entries * (8.0 * int(self.samples.lengths.sum()) + self.sums.n_products)
        return (self.capacity is None or entries <= self.capacity) and (self.kept is None or work <= REPEATED_FLOP)

    def run(self) -> None:
        """Give the gradients of all groups to the sums, stage by stage, but for stages that were done and kept."""
        last = len(self.stages) + ("embeddings" in self.groups)
        state = StreamState(self.kept, [*(stage.first for stage in self.stages), Residuals.count(self.samples)])
        state.load_sums(self.sums, self.model.device)
        if state.is_whole:
            drop_head(self.sums)
            return
        with frozen(self.model.module):
            self._forward()
            if state.done:
                self.residuals.fill_slot(self._dx, state.load_stream())
            for number in range(state.done, last):
                if number < len(self.stages):
                    self._run_stage(number)
                else:
                    assert isinstance(self.sums, PairSums)
                    above = functools.partial(self.residuals.read, self._dx)
                    add_embeddings(self.model, self.samples, above, self.sums)
                state.save(self.sums, self.residuals.iter_slot(self._dx) if number + 1 < last else None)

    @property
    def _dx(self) -> int:
        """The slot of gradients at the residual stream, behind those of its values."""
        return len(self.stages)

    @torch.no_grad()
    def _forward(self) -> None:
        """Keep the residual stream before every stage."""
        places = [HookPoint("resid_pre", stage.first) for stage in self.stages]
        for batch in self.samples.batches:
            read = self.model.read(self.samples.ids(batch), places)
            for slot, place in enumerate(places):
                self.residuals.write(slot, batch, read[place])

    def _run_stage(self, number: int) -> None:
        """All gradients of a stage, and the gradient below it."""
        stage = self.stages[number]
        passes = plan_passes(list(stage.parts), self.outer, self.capacity or sys.maxsize)
        if passes is None:
            raise AnalysisError(
                f"{self.memory:g} GB do not hold one row of a matrix of layer {stage.first} for {len(self.samples)} "
                "tokens; raise memory or take fewer tokens."
            )
        goes_on = any(each.parts for each in self.stages[number + 1 :]) or "embeddings" in self.groups
        wants_head = stage.last == self.top and self.wants_head
        if not (stage.parts or goes_on or wants_head):
            return
        for pieces in passes:
            is_last = pieces is passes[-1]
            self.sums.begin(pieces)
            for batch in self.samples.batches:
                taps, gradients, dx = self._run_batch(
                    number, batch, [piece.part for piece in pieces], goes_on and is_last, wants_head and is_last
                )
                real = self.samples.real(batch)
                for piece in pieces:
                    module = piece.part.module
                    self.sums.take(piece, Flow(batch, taps[module].entering, gradients[module], real))
                if dx is not None:
                    self.residuals.write(self._dx, batch, dx)
            self.sums.end()
        if wants_head:
            assert isinstance(self.sums, PairSums)
            self.head.add_to(self.sums, getattr(self._unembedding, "bias", None) is not None, self.is_tied)

    def _run_batch(
        self, number: int, batch: slice, parts: Sequence[Part], wants_dx: bool, wants_head: bool
    ) -> tuple[dict[nn.Module, Tap], dict[nn.Module, Tensor], Tensor | None]:
        """What entered modules, the gradients at what left them, and that at what enters the stage."""
        stage, model = self.stages[number], self.model
        x = self.residuals.read(number, batch).to(model.device, model.dtype).detach().requires_grad_(wants_dx)
        ends = (self.samples.lengths[batch] - 1).to(model.device)
        is_top = stage.last == self.top
        at_ends = AtEnds(self.at_ends, ends) if is_top else NOWHERE
        modules = list(iter_modules(parts))
        unembedding = self._unembedding
        tapped_too = [unembedding] if wants_head else []
        with torch.enable_grad(), tapped([*modules, *tapped_too], len(x), at_ends) as taps:
            out, above = x, None
            for layer in range(stage.first, stage.last + 1):
                out = model.run_block(layer, out)
            if is_top:
                logits = model.unembed(out[torch.arange(len(x), device=out.device), ends])
                wide = logits if logits.dtype == torch.float64 else logits.float()
                targets = self.samples.targets[batch].to(model.device)
                out = torch.nn.functional.cross_entropy(wide, targets, reduction="sum")
            else:
                above = self.residuals.read(self._dx, batch).to(out)
            places = [*(taps[module].leaving for module in [*modules, *tapped_too]), *([x] if wants_dx else [])]
            found = gradients_at(out, places, above)
        if wants_head:
            self.head.append(taps[unembedding].entering, found[len(modules)])
        return taps, dict(zip(modules, found)), found[-1] if wants_dx else None

    @property
    def _unembedding(self) -> nn.Module:
        assert self.model.architecture is not None
        return self.model.module.get_submodule(self.model.architecture.unembedding)


PROBE_POSITIONS, PROBE_SAMPLES = 8, 4


def modules_at_ends(model: HookedModel) -> set[nn.Module]:
    """Linear maps of the top block whose output at earlier positions has no part in what leaves it at the last.

    Asked of the block itself, on random vectors: all but keys and values, however the block is built.
    """
    parts = [part for part in block_parts(model, model.n_layers - 1) if part.is_linear]
    modules = list(iter_modules(parts))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(PROBE_SAMPLES, PROBE_POSITIONS, model.d_model, generator=random)
    above = torch.zeros_like(x)
    above[:, -1] = torch.randn(PROBE_SAMPLES, model.d_model, generator=random)
    with frozen(model.module), torch.enable_grad(), tapped(modules, len(x)) as taps:
        out = model.run_block(model.n_layers - 1, x.to(model.device, model.dtype).requires_grad_())
        found = gradients_at(out, [taps[module].leaving for module in modules], above.to(out))
    return {module for module, each in zip(modules, found) if not bool(each[:, :-1].any())}
