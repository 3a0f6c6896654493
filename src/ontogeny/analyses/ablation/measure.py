"""Effects, then what sets of latents do, snapshot after snapshot; every finished one lies in scratch."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save

from ontogeny.analyses.ablation.config import AblationConfig
from ontogeny.analyses.ablation.controls import draw_control
from ontogeny.analyses.ablation.given import order_given
from ontogeny.analyses.ablation.ranking import Scores, compute_scores
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.errors import AnalysisError
from ontogeny.interventions.ablate import Mode, Rest, measure_nested
from ontogeny.interventions.behaviour_series import BehaviourSeries, choose_places
from ontogeny.interventions.effect_batches import iter_halves
from ontogeny.interventions.effects import EffectPlan, IndirectEffects, SourceEffects
from ontogeny.latents.times import series_by_hook_point
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.pairs import PairTokens
from ontogeny.types import source_names
from ontogeny.workspace import write_bytes

Ask = Callable[[HookedModel, str, EffectPlan, int], dict[str, np.ndarray]]
"""What a stage asks of a snapshot: (its model, behaviour, plan, which of the chosen sources) -> arrays."""

STATES: dict[str, tuple[Mode, Rest]] = {
    "untouched": ("ablate", "kept"),
    "error": ("ablate", "moved"),
    "latents": ("keep", "kept"),
    "everything": ("keep", "moved"),
}
"""What no latent has to be chosen for: which part of the activation goes to the baseline."""


@dataclass(frozen=True)
class Order:
    """Latents in the order in which they are changed, and how many at a time; `seed` numbers a control's draws."""

    name: str
    seed: int | None
    latents: Int[np.ndarray, "ranked"]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """One behaviour in one source, on the prompts of the measuring half, in nats of the metric.

    `states` [prompt] by name; `curves` [prompt count] by (order, mode, error); `single` [prompt chosen]: the change by
    each latent of `singles` alone.
    """

    orders: tuple[Order, ...]
    states: Mapping[str, Float[np.ndarray, "prompt"]]
    curves: Mapping[tuple[int, Mode, Rest], Float[np.ndarray, "prompt count"]]
    single: Float[np.ndarray, "prompt chosen"]


@dataclass(frozen=True)
class Ablated:
    """One behaviour: its pairs, which of them were measured, what latents were ranked by, what was found by source."""

    pairs: PairTokens
    baseline: str
    measured: Bool[np.ndarray, "prompt"]
    scores: Scores
    singles: Int[np.ndarray, "chosen"]
    sources: tuple[Measured, ...]


class Ablation:
    """The stages of one run; `places`: the written sources that are looked at."""

    def __init__(self, inputs: AnalysisInputs, config: AblationConfig, behaviours: Mapping[str, PairTokens]) -> None:
        self.config, self.behaviours = config, behaviours
        self.places = choose_places(inputs.sources, config.hook_points, "ablation")
        sources = [inputs.sources[place] for place in self.places]
        self.names = source_names(sources)
        self.by_hook_point = series_by_hook_point(sources)
        self.series = BehaviourSeries(
            inputs.dictionary,
            inputs.series,
            inputs.held_out.sources,
            behaviours,
            config,
            inputs.scratch,
            inputs.device,
        )
        self.halves = {name: _halves(name, pairs, config) for name, pairs in behaviours.items()}

    def run(self) -> dict[str, Ablated]:
        """Behaviour -> what was found; three openings of every snapshot."""
        self.series.read_activations()
        one = self.config.method == "atp"
        rule, steps = "left" if one else self.config.rule, 1 if one else self.config.steps
        plans = {name: self.series.make_plan(name, rule, steps) for name in self.behaviours}
        self._each_snapshot("estimates", plans, self._estimate)
        self.scores = {name: self._score(name, plan) for name, plan in plans.items()}
        self.orders = {
            (name, column): tuple(self._orders(name, column, plan.dictionary.n_latents))
            for name, plan in plans.items()
            for column in range(len(self.places))
        }
        self.singles = {name: self._choose_singles(name) for name in plans}
        self._each_snapshot("ablations", plans, self._measure)
        return {name: self._gather(name, plan) for name, plan in plans.items()}

    def _each_snapshot(self, stage: str, plans: Mapping[str, EffectPlan], ask: Ask) -> None:
        for label in self.series.labels:
            places = self.series.written_in(label, self.places)
            file = self.series.file(stage, label)
            if file.is_file() or not places:
                continue
            model = self.series.open(label)
            tensors: dict[str, np.ndarray] = {}
            for name, plan in plans.items():
                for place in places:
                    found = ask(model, name, plan, self.places.index(place))
                    tensors |= {f"{name}/{place}/{key}": value for key, value in found.items()}
            write_bytes(file, save(tensors))

    def _kept(self, stage: str, name: str, column: int) -> dict[str, np.ndarray]:
        """What a stage found of one behaviour in one source."""
        place = self.places[column]
        label = self.series.sources[self.series.writes[place]].snapshot.label
        prefix = f"{name}/{place}/"
        kept = load_file(self.series.file(stage, label))
        return {key.removeprefix(prefix): value for key, value in kept.items() if key.startswith(prefix)}

    # ---- estimates, on all prompts ---------------------------------------------------------------------------------

    def _estimate(self, model: HookedModel, name: str, plan: EffectPlan, column: int) -> dict[str, np.ndarray]:
        place = self.places[column]
        made = plan.compute_source(model, place)
        kept = dict(vars(made))
        if "exact" in self.config.rankings:
            choosing = self.halves[name][0]
            frame = plan.gather([made])
            strength = np.abs(frame.weighted_sums(choosing.astype(np.float64))[:, 0])
            latents = frame.active[np.argsort(-strength, kind="stable")[: self.config.candidates]]
            effect = plan.compute_exact(model, place, latents, choosing).sum(axis=0) / choosing.sum()
            kept |= {"exact_latents": latents.astype(np.int64), "exact": effect}
        return kept

    def _effects(self, name: str, plan: EffectPlan) -> IndirectEffects:
        fields = [field.name for field in dataclasses.fields(SourceEffects)]
        kept = [self._kept("estimates", name, column) for column in range(len(self.places))]
        return plan.gather([SourceEffects(*(each[field] for field in fields)) for each in kept])

    def _score(self, name: str, plan: EffectPlan) -> Scores:
        effects = self._effects(name, plan)
        exact = np.full((len(effects.active), len(self.places)), np.nan)
        for column in range(len(self.places)):
            kept = self._kept("estimates", name, column)
            if "exact" in kept:
                exact[np.searchsorted(effects.active, kept["exact_latents"]), column] = kept["exact"]
        clusters, choosing = self.behaviours[name].cluster, self.halves[name][0]
        return compute_scores(plan, effects, exact, clusters, choosing, self.places, list(self.by_hook_point.values()))

    # ---- orders ----------------------------------------------------------------------------------------------------

    def _orders(self, name: str, column: int, n_latents: int) -> Iterator[Order]:
        config, scores = self.config, self.scores[name]
        ranked: dict[str, np.ndarray] = {each: scores.order(each, column) for each in config.rankings}
        for given in config.given:
            ranked[given.name] = order_given(given, name, self.names[column], n_latents)
        for each, latents in ranked.items():
            yield Order(each, None, latents, _counts(config, len(latents)))
        reference = next(iter(ranked.values()))
        values = {
            "random": scores.norm[:, column],
            "norm_matched": scores.norm[:, column],
            "activation_matched": scores.activation[:, column],
        }
        for kind in config.controls:
            for seed in range(config.control_seeds):
                most = max(_counts(config, len(reference)), default=0)
                drawn = draw_control(kind, reference, scores.latents, values[kind], most, config.seed + 1 + seed)
                yield Order(kind, seed, drawn, _counts(config, len(drawn)))

    def _choose_singles(self, name: str) -> Int[np.ndarray, "chosen"]:
        """The strongest of every source, of all sources together."""
        scores, count = self.scores[name], self.config.singles
        strongest = [scores.order("effect", column)[:count] for column in range(len(self.places))]
        return np.unique(np.concatenate(strongest)).astype(np.int64)

    # ---- measuring -------------------------------------------------------------------------------------------------

    def _measure(self, model: HookedModel, name: str, plan: EffectPlan, column: int) -> dict[str, np.ndarray]:
        place, wanted, config = self.places[column], self.halves[name][1], self.config
        nothing = np.zeros(0, dtype=np.int64)
        found = {
            f"state/{state}": measure_nested(plan, model, place, nothing, [0], mode=mode, error=error, wanted=wanted)[
                :, 0
            ]
            for state, (mode, error) in STATES.items()
        }
        for number, order in enumerate(self.orders[name, column]):
            for mode in config.modes:
                for error in config.errors:
                    key = f"curve/{number}/{mode}/{error}"
                    found[key] = measure_nested(
                        plan, model, place, order.latents, order.counts, mode=mode, error=error, wanted=wanted
                    )
        found["single"] = np.zeros((int(wanted.sum()), 0))
        if len(self.singles[name]):
            found["single"] = plan.compute_exact(model, place, self.singles[name], wanted)[wanted]
        return found

    def _gather(self, name: str, plan: EffectPlan) -> Ablated:
        sources = []
        for column in range(len(self.places)):
            kept, orders = self._kept("ablations", name, column), self.orders[name, column]
            curves = {
                (number, mode, error): kept[f"curve/{number}/{mode}/{error}"]
                for number in range(len(orders))
                for mode in self.config.modes
                for error in self.config.errors
            }
            states = {state: kept[f"state/{state}"] for state in STATES}
            sources.append(Measured(orders, states, curves, kept["single"]))
        return Ablated(
            self.behaviours[name],
            plan.baseline,
            self.halves[name][1],
            self.scores[name],
            self.singles[name],
            tuple(sources),
        )


def _halves(name: str, pairs: PairTokens, config: AblationConfig) -> tuple[np.ndarray, np.ndarray]:
    """Which prompts choose and which are measured: [prompt] each; AnalysisError where one cluster is all there is."""
    first, second = iter_halves(pairs.cluster, config.seed)
    if not len(first) or not len(second):
        raise AnalysisError(
            f"behaviour {name!r} has all pairs in one cluster; ablation chooses on some clusters and measures on "
            "others: give pairs of two clusters at least."
        )
    second = np.random.default_rng(config.seed).permutation(second)[: config.prompts]
    choosing, measured = np.zeros(len(pairs), dtype=bool), np.zeros(len(pairs), dtype=bool)
    choosing[first], measured[second] = True, True
    return choosing, measured


def _counts(config: AblationConfig, n_latents: int) -> tuple[int, ...]:
    """The numbers of latents that are changed: those of the config that there are, else powers of two and all."""
    if config.counts is not None:
        return tuple(sorted({count for count in config.counts if count <= n_latents}))
    powers = [1 << exponent for exponent in range(max(n_latents, 1).bit_length())]
    return tuple(sorted({count for count in [*powers, n_latents] if 0 < count <= n_latents}))
