"""Edges of all behaviours in every snapshot, checked and run as circuits; each finished snapshot lies in scratch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save

from ontogeny.analyses.circuits.config import CircuitsConfig
from ontogeny.analyses.circuits.pruning import RANKINGS, choose_sizes, rank_edges, take_first
from ontogeny.analyses.circuits.wiring import Wire, Wiring
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.interventions.behaviour_series import BehaviourSeries
from ontogeny.interventions.circuits import measure_circuits
from ontogeny.interventions.edges import EdgePlan, SnapshotEdges
from ontogeny.interventions.effect_batches import iter_halves
from ontogeny.interventions.effects import EffectPlan, SourceEffects
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.pairs import PairTokens
from ontogeny.workspace import write_bytes

MODES = ("prune", "keep", "ablate")


@dataclass(frozen=True)
class Traced:
    """One behaviour in one snapshot; see `SnapshotEdges` for what is in nats by prompt.

    `started` [prompt upstream]: effects of the chosen upstream latents on their own. `change` [prompt]: what moving all
    of the upstream activation changes. `check_edges` [edge 2], `check_estimate`, `check_exact` [edge]: the strongest
    edges of the first half of the clusters on prompts of the second. `sizes` [size]: edges in a circuit; `curves`
    [mode ranking size prompt]: the metric of such circuits on the prompts `judged`.
    """

    effects: Float[np.ndarray, "prompt origin downstream"]
    through: Float[np.ndarray, "prompt origin"]
    nodes: Float[np.ndarray, "prompt downstream"]
    latents: Float[np.ndarray, "prompt"]
    whole: Float[np.ndarray, "prompt"]
    start: Float[np.ndarray, "prompt"]
    end: Float[np.ndarray, "prompt"]
    started: Float[np.ndarray, "prompt upstream"]
    change: Float[np.ndarray, "prompt"]
    check_edges: Int[np.ndarray, "edge 2"]
    check_estimate: Float[np.ndarray, "edge"]
    check_exact: Float[np.ndarray, "edge"]
    judged: Int[np.ndarray, "judged"]
    sizes: Int[np.ndarray, "size"]
    curves: Float[np.ndarray, "mode ranking size judged"]


@dataclass(frozen=True)
class Circuits:
    """One behaviour: its pairs, the chosen latents of both ends, and one trace a snapshot."""

    pairs: PairTokens
    baseline: str
    starts: Int[np.ndarray, "upstream"]
    ends: Int[np.ndarray, "downstream"]
    traces: tuple[Traced, ...]


def trace_behaviours(
    inputs: AnalysisInputs, config: CircuitsConfig, wiring: Wiring, behaviours: Mapping[str, PairTokens]
) -> dict[str, Circuits]:
    """Behaviour -> edges in every snapshot, in order of training.

    Every snapshot is opened once a dictionary for activations, once for the effects of latents, once for edges.
    """
    return _Tracing(inputs, config, wiring, behaviours).run()


class _Tracing:
    """The steps, each of which leaves one file a snapshot."""

    def __init__(
        self, inputs: AnalysisInputs, config: CircuitsConfig, wiring: Wiring, behaviours: Mapping[str, PairTokens]
    ) -> None:
        self.config, self.wiring, self.behaviours = config, wiring, behaviours
        self.lower = self._series(inputs, "downstream")
        self.upper = self.lower if wiring.is_one else self._series(inputs, "upstream")

    def _series(self, inputs: AnalysisInputs, side: str) -> BehaviourSeries:
        scratch = inputs.scratch / side
        scratch.mkdir(exist_ok=True)
        dictionary = getattr(self.wiring, side)
        known = getattr(self.wiring, f"known_{side}")
        return BehaviourSeries(dictionary, inputs.series, known, self.behaviours, self.config, scratch, inputs.device)

    def run(self) -> dict[str, Circuits]:
        """All steps."""
        for series in dict.fromkeys((self.upper, self.lower)):
            series.read_activations()
        plans = {name: self._plans(name) for name in self.behaviours}
        self._compute_nodes(plans)
        edges = {name: self._choose(name, *plans[name]) for name in self.behaviours}
        self._compute_edges(edges)
        return {
            name: Circuits(
                self.behaviours[name],
                plan.downstream.baseline,
                plan.starts,
                plan.ends,
                tuple(self._load(name, wire) for wire in self.wiring.wires),
            )
            for name, plan in edges.items()
        }

    def _plans(self, name: str) -> tuple[EffectPlan, EffectPlan]:
        lower = self.lower.make_plan(name, self.config.rule, self.config.steps)
        upper = lower if self.wiring.is_one else self.upper.make_plan(name, self.config.rule, self.config.steps)
        return upper, lower

    def _compute_nodes(self, plans: Mapping[str, tuple[EffectPlan, EffectPlan]]) -> None:
        """Effects of all latents of both ends, in every snapshot."""
        for wire in self.wiring.wires:
            file = self.lower.file("nodes", wire.snapshot.label)
            if file.is_file():
                continue
            model = self.lower.open(wire.snapshot.label)
            tensors: dict[str, np.ndarray] = {}
            for name, (upper, lower) in plans.items():
                for side, plan, source in (("upstream", upper, wire.start), ("downstream", lower, wire.end)):
                    column = plan.compute_source(model, source)
                    tensors |= {f"{name}/{side}/{key}": value for key, value in vars(column).items()}
            write_bytes(file, save(tensors))

    def _column(self, name: str, side: str, wire: Wire) -> SourceEffects:
        kept = load_file(self.lower.file("nodes", wire.snapshot.label))
        names = [field.name for field in dataclasses.fields(SourceEffects)]
        return SourceEffects(*(kept[f"{name}/{side}/{key}"] for key in names))

    def _choose(self, name: str, upper: EffectPlan, lower: EffectPlan) -> EdgePlan:
        """The latents with the largest |mean effect| in any snapshot, on the first half of the clusters."""
        pairs = self.behaviours[name]
        first, _ = iter_halves(pairs.cluster, self.config.seed)
        weights = np.bincount(first, minlength=len(pairs)) / max(len(first), 1)
        chosen = []
        for side, plan in (("upstream", upper), ("downstream", lower)):
            frame = plan.gather([self._column(name, side, wire) for wire in self.wiring.wires])
            strength = np.abs(frame.weighted_sums(weights)).max(axis=1)
            order = np.argsort(-strength, kind="stable")[: self.config.nodes]
            chosen.append(frame.active[order[strength[order] > 0]].astype(np.int64))
        starts, ends = chosen
        return EdgePlan(upper, lower, starts, ends, self.config.evidence)

    def _compute_edges(self, plans: Mapping[str, EdgePlan]) -> None:
        for wire in self.wiring.wires:
            file = self.lower.file("edges", wire.snapshot.label)
            if file.is_file():
                continue
            model = self.lower.open(wire.snapshot.label)
            tensors: dict[str, np.ndarray] = {}
            for name, plan in plans.items():
                traced = self._trace(model, name, plan, wire)
                tensors |= {f"{name}/{key}": np.ascontiguousarray(value) for key, value in vars(traced).items()}
            write_bytes(file, save(tensors))

    def _trace(self, model: HookedModel, name: str, plan: EdgePlan, wire: Wire) -> Traced:
        """Edges of one snapshot; pruned by the first half of the clusters, checked and run on the second."""
        config, pairs = self.config, self.behaviours[name]
        found = plan.compute(model, wire.start, wire.end)
        first, second = iter_halves(pairs.cluster, config.seed)
        judged = np.sort(np.random.default_rng(config.seed).permutation(second)[: config.prompts])
        edges = found.effects[:, : len(plan.starts)]
        strength = np.abs(edges[first].mean(axis=0)) if len(first) else np.zeros(edges.shape[1:])
        wanted = _member(judged, len(pairs))
        strongest = take_first(strength, config.verify)
        exact = plan.compute_exact(model, wire.start, wire.end, strongest, wanted)[judged]
        column = self._column(name, "upstream", wire)
        started = plan.upstream.gather([column])
        own = [
            np.bincount(started.prompt, started.values[:, 0] * (started.latent == latent), minlength=len(pairs))
            for latent in plan.starts
        ]
        kept = {key: value for key, value in vars(found).items() if key not in ("weights", "readings")}
        return Traced(
            **kept,
            started=np.stack(own, axis=1) if own else np.zeros((len(pairs), 0)),
            change=column.end - column.start,
            check_edges=strongest,
            check_estimate=edges[judged][:, strongest[:, 0], strongest[:, 1]].sum(axis=0) / max(len(judged), 1),
            check_exact=exact.sum(axis=0) / max(len(judged), 1),
            judged=judged,
            **self._run_circuits(model, plan, wire, found, strength, wanted),
        )

    def _run_circuits(
        self,
        model: HookedModel,
        plan: EdgePlan,
        wire: Wire,
        found: SnapshotEdges,
        strength: Float[np.ndarray, "upstream downstream"],
        wanted: Bool[np.ndarray, "all"],
    ) -> dict[str, np.ndarray]:
        """The metric of ever larger circuits, and of as many edges drawn at random."""
        weights = found.weights[: len(plan.starts)]
        sizes = choose_sizes(int((weights > 0).sum()))
        curves = np.zeros((len(MODES), len(RANKINGS), len(sizes), int(wanted.sum())))
        for at, ranking in enumerate(RANKINGS):
            seeds = range(1 if ranking == "effect" else self.config.control_seeds)
            for seed in seeds:
                circuits = rank_edges(ranking, strength, weights, sizes, self.config.seed + seed)
                for number, mode in enumerate(MODES):
                    measured = measure_circuits(plan, model, wire.end, found, circuits, mode, wanted)  # type: ignore[arg-type]
                    curves[number, at] += measured.T / len(seeds)
        return {"sizes": sizes, "curves": curves}

    def _load(self, name: str, wire: Wire) -> Traced:
        kept = load_file(self.lower.file("edges", wire.snapshot.label))
        return Traced(**{field.name: kept[f"{name}/{field.name}"] for field in dataclasses.fields(Traced)})


def _member(chosen: Int[np.ndarray, "chosen"], count: int) -> Bool[np.ndarray, "all"]:
    member = np.zeros(count, dtype=bool)
    member[chosen] = True
    return member
