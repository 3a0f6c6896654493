"""Effects of all behaviours in all sources: snapshots opened once for activations, once for gradients; resumable."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.indirect_effects.config import IndirectEffectsConfig
from ontogeny.analyses.indirect_effects.holding import compute_held
from ontogeny.errors import AnalysisError
from ontogeny.interventions.effect_batches import (
    PromptActivations,
    build_effect_batches,
    iter_halves,
    moving_positions,
)
from ontogeny.interventions.effects import EffectPlan, IndirectEffects, SourceEffects
from ontogeny.interventions.prompts import clean_prompts, patch_prompts, read_prompts
from ontogeny.interventions.sources import source_positions
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.pairs import PairTokens
from ontogeny.workspace import write_bytes


@dataclass(frozen=True)
class ExactCheck:
    """The strongest latents of one half of the clusters in one source: their mean effect on prompts of the other half,
    as estimated and as patched."""

    latent: Int[np.ndarray, "chosen"]
    estimate: Float[np.ndarray, "chosen"]
    exact: Float[np.ndarray, "chosen"]
    n_prompts: int


@dataclass(frozen=True)
class Attributed:
    """One behaviour: its pairs, the effects in all chosen sources, and one check a source.

    `held` [latent source]: how much of each latent a source holds on the clean prompts (`holding.py`).
    """

    pairs: PairTokens
    baseline: str
    effects: IndirectEffects
    checks: tuple[ExactCheck, ...]
    held: Float[np.ndarray, "latent source"]


def choose_sources(inputs: AnalysisInputs, config: IndirectEffectsConfig) -> list[int]:
    """Places, among the sources that the dictionary writes, of those at the hook points asked for."""
    points = [str(source.hook_point) for source in inputs.sources]
    wanted = points if config.hook_points is None else config.hook_points
    for each in wanted:
        if each not in points:
            raise AnalysisError(
                f"analyses.indirect_effects.hook_points names {each!r}; the dictionary has "
                f"{', '.join(dict.fromkeys(points))}."
            )
    return [place for place, point in enumerate(points) if point in wanted]


def attribute_behaviours(
    inputs: AnalysisInputs, config: IndirectEffectsConfig, behaviours: Mapping[str, PairTokens]
) -> dict[str, Attributed]:
    """Behaviour -> effects in every source chosen, in the dictionary's order."""
    run = _Attribution(inputs, config, behaviours)
    run.read_activations()
    plans = {name: run.make_plan(name) for name in behaviours}
    run.compute_effects(plans)
    return {name: run.gather(name, plans[name]) for name in behaviours}


class _Attribution:
    """The steps of an attribution, each of which leaves one file a snapshot in scratch."""

    def __init__(
        self, inputs: AnalysisInputs, config: IndirectEffectsConfig, behaviours: Mapping[str, PairTokens]
    ) -> None:
        self.inputs, self.config, self.behaviours = inputs, config, behaviours
        self.chosen = choose_sources(inputs, config)
        known = inputs.held_out.sources
        reads, writes = (source_positions(known, names) for names in self._names())
        self.wanted = sorted({*reads, *writes})
        self.sources = [known[place] for place in self.wanted]
        self.reads = tuple(self.wanted.index(place) for place in reads)
        self.writes = tuple(self.wanted.index(place) for place in writes)
        self.labels = list(dict.fromkeys(source.snapshot.label for source in self.sources))
        digest = hashlib.sha256(config.model_dump_json().encode())
        for name, pairs in behaviours.items():
            digest.update(name.encode() + pairs.clean.tobytes() + pairs.right.tobytes() + pairs.wrong.tobytes())
        self.stamp = digest.hexdigest()[:12]
        self.held: dict[str, Float[np.ndarray, "latent source"]] = {}

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.inputs.dictionary.sources_in, self.inputs.dictionary.sources_out

    def _file(self, stage: str, label: str) -> Path:
        return self.inputs.scratch / f"{stage}-{self.labels.index(label):04d}.{self.stamp}.safetensors"

    def _open(self, label: str) -> HookedModel:
        series = self.inputs.series
        model = series.open(series.labels.index(label), device=self.inputs.device)
        for name, pairs in self.behaviours.items():
            largest = max(int(each.max()) for each in (pairs.clean, pairs.right, pairs.wrong))
            if largest >= model.vocab_size:
                raise AnalysisError(
                    f"token id {largest} of behaviour {name!r} is none of {label}'s {model.vocab_size}; the tokenizer "
                    "is another model's."
                )
        return model

    def read_activations(self) -> None:
        """Activations of all prompts in every snapshot."""
        for label in self.labels:
            file = self._file("activations", label)
            if file.is_file():
                continue
            model = self._open(label)
            tensors: dict[str, np.ndarray] = {}
            places = [at for at, source in enumerate(self.sources) if source.snapshot.label == label]
            model.check_hook_points([self.sources[at].hook_point for at in places])
            for name, pairs in self.behaviours.items():
                for side, prompts in (("clean", clean_prompts(pairs)), ("patch", patch_prompts(pairs))):
                    for at in places if prompts is not None else ():
                        assert prompts is not None, "only prompts that there are"
                        values = read_prompts(model, prompts, self.sources[at].hook_point, self.config.batch)
                        tensors[f"{name}/{side}/{at}"] = values.numpy()
            write_bytes(file, save(tensors))

    def _activations(self, name: str, side: str) -> PromptActivations:
        parts: dict[str, np.ndarray] = {}
        for label in self.labels:
            kept = load_file(self._file("activations", label))
            parts |= {key: value for key, value in kept.items() if key.startswith(f"{name}/{side}/")}
        values = np.stack([parts[f"{name}/{side}/{at}"] for at in range(len(self.sources))], axis=2)
        return PromptActivations(torch.from_numpy(values), self.reads, self.writes)

    def baseline(self, name: str) -> str:
        """The baseline of a behaviour, where the config leaves it open; AnalysisError where pairs do not line up."""
        pairs = self.behaviours[name]
        chosen = self.config.baseline
        if chosen == "auto":
            chosen = "mean" if pairs.patch is None else "pair"
        lengths = pairs.length if pairs.patch_length is None else pairs.patch_length
        if chosen == "pair" and bool((lengths != pairs.length).any()):
            raise AnalysisError(
                f"behaviour {name!r} has prefixes of unequal length, whose positions cannot be compared; set "
                'policy.equal_length = true, or baseline = "mean".'
            )
        return chosen

    def make_plan(self, name: str) -> EffectPlan:
        """Codes of all prompts of a behaviour, and the path to its baseline."""
        config, pairs, baseline = self.config, self.behaviours[name], self.baseline(name)
        clean, dictionary = clean_prompts(pairs), self.inputs.dictionary.to(self.inputs.device)
        moves = moving_positions(clean, config.skip_first, config.positions)
        activations = self._activations(name, "clean")
        self.held[name] = compute_held(dictionary, activations, moves, config.batch)[:, self.chosen]
        batches, mean = build_effect_batches(
            dictionary,
            clean,
            activations,
            moves,
            baseline=baseline,  # type: ignore[arg-type]
            patched=None if pairs.patch is None else self._activations(name, "patch"),
            batch=config.batch,
        )
        points = [self.sources[at].hook_point for at in self.writes]
        one = config.method != "ig" or config.patches_each
        return EffectPlan(
            dictionary,
            points,
            batches,
            mean,
            baseline=baseline,  # type: ignore[arg-type]
            path="error_kept" if config.path == "error_kept" else "joint",
            rule="left" if one else config.rule,
            steps=1 if one else config.steps,
        )

    def compute_effects(self, plans: Mapping[str, EffectPlan]) -> None:
        """Effects in every snapshot, and the checks of its sources."""
        for label in self.labels:
            file = self._file("effects", label)
            if file.is_file():
                continue
            model = self._open(label)
            tensors: dict[str, np.ndarray] = {}
            for name, plan in plans.items():
                for source in self.chosen:
                    if self.sources[self.writes[source]].snapshot.label == label:
                        tensors |= self._source(model, name, plan, source)
            write_bytes(file, save(tensors))

    def _source(self, model: HookedModel, name: str, plan: EffectPlan, source: int) -> dict[str, np.ndarray]:
        column = plan.compute_source(model, source)
        if self.config.patches_each:
            frame = plan.gather([column])
            exact = plan.compute_exact(model, source, frame.active)
            values = exact[frame.prompt, np.searchsorted(frame.active, frame.latent)]
            column = dataclasses.replace(column, values=values, error=np.zeros_like(column.error))
        check = self._check(model, name, plan, source, column)
        kept = {f"{name}/{source}/{key}": value for key, value in vars(column).items()}
        for key in ("latent", "estimate", "exact"):
            kept[f"{name}/{source}/check_{key}"] = getattr(check, key)
        kept[f"{name}/{source}/check_n_prompts"] = np.array([check.n_prompts])
        return kept

    def _check(self, model: HookedModel, name: str, plan: EffectPlan, source: int, column: SourceEffects) -> ExactCheck:
        """Choose on one half of the clusters, patch on the other."""
        config, pairs = self.config, self.behaviours[name]
        first, second = iter_halves(pairs.cluster, config.seed)
        second = np.random.default_rng(config.seed).permutation(second)[: config.verify_prompts]
        frame = plan.gather([column])
        strength = np.abs(frame.weighted_sums(_member(first, len(pairs)).astype(np.float64))[:, 0])
        order = np.argsort(-strength, kind="stable")[: config.verify]
        latents = frame.active[order[strength[order] > 0]]
        if not len(latents) or not len(second):
            none = np.zeros(0)
            return ExactCheck(np.zeros(0, dtype=np.int64), none, none, 0)
        judged = _member(second, len(pairs))
        exact = plan.compute_exact(model, source, latents, judged).sum(axis=0) / len(second)
        estimate = frame.weighted_sums(judged / len(second))[np.searchsorted(frame.active, latents), 0]
        return ExactCheck(latents.astype(np.int64), estimate, exact, len(second))

    def gather(self, name: str, plan: EffectPlan) -> Attributed:
        """What scratch holds of a behaviour, put together."""
        columns, checks = [], []
        for source in self.chosen:
            kept = load_file(self._file("effects", self.sources[self.writes[source]].snapshot.label))
            columns.append(SourceEffects(*(kept[f"{name}/{source}/{key}"] for key in _fields(SourceEffects))))
            latent, estimate, exact, n = (kept[f"{name}/{source}/check_{key}"] for key in _fields(ExactCheck))
            checks.append(ExactCheck(latent, estimate, exact, int(n[0])))
        return Attributed(self.behaviours[name], plan.baseline, plan.gather(columns), tuple(checks), self.held[name])


def _fields(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _member(chosen: Int[np.ndarray, "chosen"], count: int) -> Bool[np.ndarray, "all"]:
    member = np.zeros(count, dtype=bool)
    member[chosen] = True
    return member
