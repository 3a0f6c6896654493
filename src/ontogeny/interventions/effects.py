"""Indirect effects: what every latent of every snapshot does to the metric of a behaviour.

The effect of latent i in snapshot k on a prompt is (c' - c) · <d_ik, g>, summed over positions, with c and c' its
contribution on the clean prompt and at the baseline (its code where its gate there is on), d_ik its decoder in raw
space, and g the mean gradient along the path (`paths.py`). What the dictionary leaves unexplained has its own effect,
<e' - e, g>; both together are what the path changes: that gap is the completeness of the estimate.
Source: arXiv 2509.05291, arXiv 2403.19647; the identity by linearity of the decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError
from ontogeny.interventions.changes import CHUNK, Change, add_moves, project, raw_directions
from ontogeny.interventions.edits import check_latents
from ontogeny.interventions.paths import Rule, compute_path_gradient, measure_with
from ontogeny.interventions.prompts import Prompts
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

Baseline = Literal["pair", "mean", "zero"]
Path = Literal["joint", "error_kept"]


@dataclass(frozen=True)
class SourceEffects:
    """Effects in one source, one column of `IndirectEffects`."""

    values: Float[np.ndarray, "entry"]
    error: Float[np.ndarray, "prompt"]
    start: Float[np.ndarray, "prompt"]
    end: Float[np.ndarray, "prompt"]


@dataclass(frozen=True)
class IndirectEffects:
    """Effects of every latent that is active on a prompt, kept per prompt; never only means.

    `prompt`, `latent` [entry]: sorted by prompt, then latent; `values` [entry source]: effects summed over positions;
    `error` [prompt source]: the effect of what is unexplained; `start`, `end` [prompt source]: the metric on the clean
    prompt and at the baseline. In units of the metric (nats).
    """

    prompt: Int[np.ndarray, "entry"]
    latent: Int[np.ndarray, "entry"]
    values: Float[np.ndarray, "entry source"]
    error: Float[np.ndarray, "prompt source"]
    start: Float[np.ndarray, "prompt source"]
    end: Float[np.ndarray, "prompt source"]
    n_latents: int

    @property
    def n_prompts(self) -> int:
        """Prompts."""
        return len(self.error)

    @property
    def total(self) -> Float[np.ndarray, "prompt source"]:
        """What the path changes: the metric at the baseline less that on the clean prompt."""
        return np.asarray(self.end - self.start)

    @cached_property
    def active(self) -> Int[np.ndarray, "active"]:
        """Latents with an entry, ascending."""
        return np.unique(self.latent)

    def weighted_sums(self, weights: Float[np.ndarray, "prompt"]) -> Float[np.ndarray, "active source"]:
        """sum over prompts of weight · effect, for the active latents."""
        places = np.searchsorted(self.active, self.latent)
        out = np.zeros((len(self.active), self.values.shape[1]))
        for source in range(self.values.shape[1]):
            weighted = self.values[:, source] * weights[self.prompt]
            out[:, source] = np.bincount(places, weighted, minlength=len(self.active))
        return out

    def completeness_gap(self) -> Float[np.ndarray, "source"]:
        """|sum of all effects - what the path changes| / |what it changes|, of the means over prompts; NaN for 0/0."""
        explained = self.values.sum(axis=0) + self.error.sum(axis=0)
        total = self.total.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.abs(explained - total) / np.abs(total))


@dataclass(frozen=True)
class EffectBatch:
    """Some prompts with what a dictionary makes of them: codes at the positions that move, clean and at the baseline.

    `hidden` [prompt position source_out d_model]: raw activations; `patched`: those of the patch prompts, None without.
    `codes`: the clean ones, a token for each position that moves.
    """

    numbers: Int[np.ndarray, "prompt"]
    prompts: Prompts
    moves: Bool[Tensor, "prompt position"]
    hidden: Float[Tensor, "prompt position source d_model"]
    patched: Float[Tensor, "prompt position source d_model"] | None
    change: Change
    codes: Codes


class EffectPlan:
    """What is attributed: batches of prompts, the baseline, the path. It holds no model; snapshots come one by one.

    `threshold`: an effect at one position whose size is not above it counts as 0 (the error's does not change).
    """

    def __init__(
        self,
        dictionary: Crosscoder,
        hook_points: Sequence[HookPoint],
        batches: Sequence[EffectBatch],
        mean: Float[Tensor, "source d_model"] | None,
        *,
        baseline: Baseline = "pair",
        path: Path = "joint",
        rule: Rule = "left",
        steps: int = 1,
        threshold: float = 0.0,
    ) -> None:
        if dictionary.W_skip is not None:
            raise DictionaryError(
                "effects are those of latents, and a skip connection has some beside; train this dictionary with "
                "dictionary.skip = false."
            )
        self.dictionary, self.hook_points, self.batches, self.mean = dictionary, list(hook_points), list(batches), mean
        self.baseline, self.path, self.rule, self.steps = baseline, path, rule, steps
        self.threshold = threshold

    def directions(self, source: int, latents: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d_model"]:
        """What a unit of contribution of some latents adds to the raw activation, on the CPU."""
        return raw_directions(self.dictionary, source, latents)

    @cached_property
    def entries(self) -> list[tuple[Int[np.ndarray, "entry"], Int[np.ndarray, "pair"]]]:
        """Per batch: the keys prompt · n_latents + latent that it has, and to which of them each of its pairs adds."""
        out = []
        for batch in self.batches:
            row = batch.moves.nonzero()[:, 0].cpu().numpy()
            prompt = row[batch.change.token.cpu().numpy()]
            latent = batch.change.latent.cpu().numpy()
            keys = prompt * self.dictionary.n_latents + latent
            if batch.change.shift is not None:
                shifted = batch.change.shift.any(dim=1).nonzero()[:, 0].cpu().numpy()
                everywhere = np.arange(len(batch.prompts))[:, None] * self.dictionary.n_latents + shifted
                keys = np.concatenate([keys, everywhere.reshape(-1)])
            unique, inverse = np.unique(keys, return_inverse=True)
            out.append((unique, inverse))
        return out

    def compute_source(self, model: HookedModel, source: int) -> SourceEffects:
        """The effects in one written source, whose snapshot's model is given."""
        parts = [self._batch_effects(model, source, index) for index in range(len(self.batches))]
        return SourceEffects(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def gather(self, columns: Sequence[SourceEffects]) -> IndirectEffects:
        """The effects of all sources, from the columns that `compute_source` gave."""
        n_latents = self.dictionary.n_latents
        keys = [
            (batch.numbers[unique // n_latents], unique % n_latents)
            for batch, (unique, _) in zip(self.batches, self.entries, strict=True)
        ]
        prompt, latent = (np.concatenate(column) for column in zip(*keys, strict=True))
        names = ("values", "error", "start", "end")
        stacked = {name: np.stack([getattr(each, name) for each in columns], axis=1) for name in names}
        return IndirectEffects(prompt, latent, **stacked, n_latents=n_latents)

    def _batch_effects(self, model: HookedModel, source: int, index: int) -> tuple[np.ndarray, ...]:
        batch = self.batches[index]
        hidden, moves = batch.hidden[:, :, source].to(model.device), batch.moves.to(model.device)
        target = self.target(batch, source).to(model.device)
        prompts = batch.prompts.to(model.device)
        along = compute_path_gradient(
            model, self.hook_points[source], prompts, hidden, target, moves, self.rule, self.steps
        )
        change = batch.change
        decoder, scale = self.dictionary.W_dec.detach()[:, source], self.dictionary.scale_out[source].cpu()
        slope = project(along.gradient[moves], decoder, change.token, change.latent) / scale
        pairs = [slope * change.difference[:, source]]
        if change.shift is not None:
            shifted = change.shift.any(dim=1).nonzero()[:, 0]
            summed = along.gradient.sum(dim=1).cpu()
            parts = [summed @ self.directions(source, part).T for part in shifted.split(CHUNK)]
            pairs.append((torch.cat(parts, dim=1) * change.shift[shifted, source]).reshape(-1))
        unique, inverse = self.entries[index]
        each = torch.cat(pairs).double().numpy()
        values = np.bincount(inverse, each, minlength=len(unique))
        # Latents and error together are what moved: the rest of the movement is the error's.
        moved = torch.where(batch.moves[..., None], target.cpu() - batch.hidden[:, :, source], 0.0)
        whole = (moved * along.gradient.cpu()).sum(dim=(1, 2)).double().numpy()
        of_latents = np.bincount(unique // self.dictionary.n_latents, values, minlength=len(batch.prompts))
        error = whole - of_latents if self.path == "joint" else np.zeros(len(whole))
        if self.threshold > 0:
            values = np.bincount(inverse, np.where(np.abs(each) > self.threshold, each, 0.0), minlength=len(unique))
        return values, error, along.start.cpu().double().numpy(), along.end.cpu().double().numpy()

    def target(self, batch: EffectBatch, source: int) -> Float[Tensor, "prompt position d_model"]:
        """Where the path ends: the baseline's activation, or the clean one with only its latents moved."""
        hidden = batch.hidden[:, :, source]
        if self.path == "error_kept":
            return hidden + self.movement(batch, source)
        if self.baseline == "pair":
            assert batch.patched is not None, "the pair baseline needs patch prompts"
            return batch.patched[:, :, source]
        if self.baseline == "mean":
            assert self.mean is not None, "the mean baseline needs a mean"
            return self.mean[source].expand_as(hidden)
        zero = self.dictionary.denormalise(self.dictionary.b_dec[None])[0, source].detach().cpu()
        return zero.expand_as(hidden)

    def movement(
        self, batch: EffectBatch, source: int, latents: Int[Tensor, " chosen"] | None = None
    ) -> Float[Tensor, "prompt position d_model"]:
        """What the change of some latents (all by default) adds to the raw activation."""
        change = batch.change
        moved = batch.hidden.new_zeros(int(batch.moves.sum()), batch.hidden.shape[-1])
        chosen = slice(None) if latents is None else torch.isin(change.latent, latents)
        by = change.difference[chosen, source]
        add_moves(moved, self.dictionary, source, change.token[chosen], change.latent[chosen], by)
        if change.shift is not None:
            shift = change.shift[:, source]
            everywhere = shift.nonzero()[:, 0] if latents is None else latents
            for part in everywhere.split(CHUNK):
                moved += shift[part] @ self.directions(source, part)
        out = torch.zeros_like(batch.hidden[:, :, source])
        out[batch.moves] = moved
        return out

    def compute_exact(
        self,
        model: HookedModel,
        source: int,
        latents: Int[np.ndarray, "chosen"],
        wanted: Bool[np.ndarray, "all"] | None = None,
    ) -> Float[np.ndarray, "all chosen"]:
        """m with one latent at its baseline, all else untouched, less m: one forward a latent and batch of prompts.

        `wanted`: the prompts that are patched, all by default; 0 elsewhere. DictionaryError for a latent out of range.
        """
        check_latents([int(each) for each in latents], self.dictionary.n_latents)
        out = []
        for batch in self.batches:
            here = np.ones(len(batch.numbers), dtype=bool) if wanted is None else wanted[batch.numbers]
            if not here.any():
                out.append(np.zeros((len(batch.numbers), len(latents))))
                continue
            prompts = batch.prompts.to(model.device)
            hidden = batch.hidden[:, :, source].to(model.device)
            with torch.no_grad():
                clean = self.measure(model, source, prompts, hidden)
                columns = [
                    self._single(model, source, batch, prompts, clean, int(latent), here) - clean for latent in latents
                ]
            out.append(torch.stack(columns, dim=1).cpu().double().numpy())
        return np.concatenate(out)

    def _single(
        self,
        model: HookedModel,
        source: int,
        batch: EffectBatch,
        prompts: Prompts,
        clean: Float[Tensor, " prompt"],
        latent: int,
        wanted: Bool[np.ndarray, "prompt"],
    ) -> Float[Tensor, " prompt"]:
        """The metric with one latent moved; prompts on which it does not move, or not wanted, keep the clean one."""
        state = (batch.hidden[:, :, source] + self.movement(batch, source, torch.tensor([latent]))).to(model.device)
        moves = (state != batch.hidden[:, :, source].to(model.device)).flatten(1).any(dim=1)
        moves &= torch.from_numpy(wanted).to(moves.device)
        touched = moves.nonzero()[:, 0]
        metric = clean.clone()
        if len(touched):
            metric[touched] = self.measure(model, source, prompts.take(touched), state[touched])
        return metric

    def measure(self, model: HookedModel, source: int, prompts: Prompts, state: Tensor) -> Float[Tensor, " prompt"]:
        """The metric with the activation of a source replaced by `state`."""
        return measure_with(model, self.hook_points[source], prompts, state)
