"""Effects of all behaviours in all sources: snapshots opened once for activations, once for gradients; resumable."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.indirect_effects.config import IndirectEffectsConfig
from ontogeny.analyses.indirect_effects.holding import compute_held
from ontogeny.interventions.behaviour_series import BehaviourSeries, choose_places
from ontogeny.interventions.effect_batches import iter_halves
from ontogeny.interventions.effects import EffectPlan, IndirectEffects, SourceEffects
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
    return choose_places(inputs.sources, config.hook_points, "indirect_effects")


def attribute_behaviours(
    inputs: AnalysisInputs, config: IndirectEffectsConfig, behaviours: Mapping[str, PairTokens]
) -> dict[str, Attributed]:
    """Behaviour -> effects in every source chosen, in the dictionary's order."""
    run = _Attribution(inputs, config, behaviours)
    run.series.read_activations()
    plans = {name: run.make_plan(name) for name in behaviours}
    run.compute_effects(plans)
    return {name: run.gather(name, plans[name]) for name in behaviours}


class _Attribution:
    """The steps of an attribution, each of which leaves one file a snapshot in scratch."""

    def __init__(
        self, inputs: AnalysisInputs, config: IndirectEffectsConfig, behaviours: Mapping[str, PairTokens]
    ) -> None:
        self.config, self.behaviours = config, behaviours
        self.chosen = choose_sources(inputs, config)
        self.series = BehaviourSeries(
            inputs.dictionary,
            inputs.series,
            inputs.held_out.sources,
            behaviours,
            config,
            inputs.scratch,
            inputs.device,
        )
        self.held: dict[str, Float[np.ndarray, "latent source"]] = {}

    def make_plan(self, name: str) -> EffectPlan:
        """The path of a behaviour; beside it, how much of its latents each source holds."""
        config = self.config
        one = config.method != "ig" or config.patches_each
        plan = self.series.make_plan(
            name,
            rule="left" if one else config.rule,
            steps=1 if one else config.steps,
            path="error_kept" if config.path == "error_kept" else "joint",
            threshold=0.0 if config.legacy is None else config.legacy_threshold,
        )
        activations = self.series.activations(name, "clean")
        held = compute_held(plan.dictionary, activations, self.series.moves(name), config.batch)
        self.held[name] = held[:, self.chosen]
        return plan

    def compute_effects(self, plans: Mapping[str, EffectPlan]) -> None:
        """Effects in every snapshot, and the checks of its sources."""
        for label in self.series.labels:
            file = self.series.file("effects", label)
            if file.is_file():
                continue
            model = self.series.open(label)
            tensors: dict[str, np.ndarray] = {}
            for name, plan in plans.items():
                for source in self.series.written_in(label, self.chosen):
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
            label = self.series.sources[self.series.writes[source]].snapshot.label
            kept = load_file(self.series.file("effects", label))
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
