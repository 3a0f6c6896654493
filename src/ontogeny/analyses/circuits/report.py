"""The result of tracing circuits; what is poorly estimated is said first."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ontogeny.analyses.circuits import columns
from ontogeny.analyses.circuits.columns import make_table
from ontogeny.analyses.circuits.config import CircuitsConfig
from ontogeny.analyses.circuits.judge import (
    Curves,
    JudgedEdges,
    compute_overlap,
    effective_number,
    judge_curves,
    judge_edges,
    split_change,
)
from ontogeny.analyses.circuits.pruning import RANKINGS
from ontogeny.analyses.circuits.tracing import MODES, Circuits, Traced, trace_behaviours
from ontogeny.analyses.circuits.wiring import Wiring, make_wiring
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.interventions.edges import ERROR, OTHERS
from ontogeny.latents.clusters import ClusterSums, renumber, sum_clusters
from ontogeny.latents.quality import Quality, compute_quality, name_poor
from ontogeny.results import Result, View
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours

HALF = 0.5
LISTED = 10
MEANING = (
    "r and slope are those of patching edges on their estimate, gap is that of the linear model; read these edges as a "
    "hint of where to look."
)
"""Edges listed of a snapshot that has no circuit, or a smaller one."""


def make_result(inputs: AnalysisInputs, config: CircuitsConfig) -> Result:
    """Trace, test, prune, verify."""
    behaviours = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    wiring = make_wiring(inputs, config)
    report = _Report(config, wiring)
    for name, given in trace_behaviours(inputs, config, wiring, behaviours).items():
        report.add(name, given)
    tables = (
        make_table("verification", columns.VERIFICATION, report.verification),
        make_table("assembly", columns.ASSEMBLY, report.assembly),
        make_table("edges", columns.EDGES, report.edges),
        make_table("nodes", columns.NODES, report.nodes),
        make_table("parts", columns.PARTS, report.parts),
        make_table("curves", columns.CURVES, report.curves),
    )
    x = "step" if all(wire.snapshot.step is not None for wire in wiring.wires) else "snapshot"
    first, last = wiring.points
    heat = [
        View(
            "heatmap", "edges", f"Edges of {name} from {first} to {last}", "snapshot", ("edge",), value="effect",
            where=(("behaviour", name),),
        )
        for name in behaviours
    ]  # fmt: skip
    views = (
        View("table", "verification", "Is the estimate any good"),
        *heat,
        View("line", "assembly", "Edges in the circuit", x=x, y=("n_circuit", "n_enough"), group="behaviour"),
        View("line", "assembly", "What the edges do", x=x, y=("edges_effect",), group="behaviour"),
        View(
            "line", "assembly", "Circuit in common with the last", x=x, y=("jaccard_last", "overlap_last"),
            group="behaviour",
        ),
        *(
            View(
                "line", "curves", f"{title}, {name} at the end", x="n_edges", y=("share",), group="ranking", log_x=True,
                where=(("mode", mode), ("behaviour", name), ("snapshot", wiring.wires[-1].snapshot.label)),
            )
            for name in behaviours
            for mode, title in (("prune", "Faithfulness"), ("ablate", "Left without the circuit"))
        ),
    )  # fmt: skip
    return Result("circuits", tables, views, report.summary())


class _Report:
    """Rows of every table, behaviour after behaviour."""

    def __init__(self, config: CircuitsConfig, wiring: Wiring) -> None:
        self.config, self.wiring = config, wiring
        self.snapshots = [wire.snapshot for wire in wiring.wires]
        self.verification: list[Mapping[str, Any]] = []
        self.edges: list[Mapping[str, Any]] = []
        self.nodes: list[Mapping[str, Any]] = []
        self.parts: list[Mapping[str, Any]] = []
        self.curves: list[Mapping[str, Any]] = []
        self.assembly: list[Mapping[str, Any]] = []
        self.poor: list[tuple[str, str, Quality]] = []
        self.told: list[str] = []
        self.circuits: dict[str, dict[str, int]] = {}

    def add(self, name: str, given: Circuits) -> None:
        """All rows of one behaviour."""
        judged = judge_edges(given, self.config)
        clusters, n_clusters = renumber(given.pairs.cluster)

        def over_clusters(values: Float[np.ndarray, "prompt ..."]) -> ClusterSums:
            return sum_clusters(values, clusters, n_clusters)

        for at, (snapshot, traced) in enumerate(zip(self.snapshots, given.traces, strict=True)):
            curves = judge_curves(given, traced, self.config)
            place = {"behaviour": name, "snapshot": snapshot.label, "step": snapshot.step}
            counted = place | {"n": len(given.pairs), "n_clusters": n_clusters}
            self._add_quality(place | {"baseline": given.baseline}, traced)
            self.nodes += _node_rows(counted, given, traced, over_clusters)
            for part, values in split_change(traced).items():
                sums = over_clusters(values)
                self.parts.append(counted | {"part": part, "effect": float(sums.mean), "effect_se": float(sums.se)})
            self._add_curves(place, traced, curves)
            self.assembly.append(counted | self._assemble(judged, at, traced, curves, over_clusters))
        self._add_edges(name, given, judged)
        self._tell(name)

    def _add_quality(self, place: Mapping[str, Any], traced: Traced) -> None:
        change = float(traced.change.sum())
        gap = abs(float(traced.through.sum()) - change) / abs(change) if change else float("nan")
        quality = compute_quality(traced.check_estimate, traced.check_exact, gap)
        if quality.poor:
            self.poor.append((place["behaviour"], place["snapshot"], quality))
        self.verification.append(
            {
                **place,
                "n_candidates": len(traced.check_edges),
                "n": len(traced.judged),
                "r": quality.r,
                "slope": quality.slope,
                "gap": quality.gap,
                "poor": quality.poor,
            }
        )

    def _add_curves(self, place: Mapping[str, Any], traced: Traced, curves: Curves) -> None:
        for mode, kind in enumerate(MODES):
            for rank, ranking in enumerate(RANKINGS):
                for at, size in enumerate(traced.sizes):
                    here = (mode, rank, at)
                    self.curves.append(
                        {
                            **place,
                            "mode": kind,
                            "ranking": ranking,
                            "n_edges": int(size),
                            "metric": float(curves.metric[here]),
                            "share": float(curves.share[here]),
                            "share_low": float(curves.low[here]),
                            "share_high": float(curves.high[here]),
                            "n": len(traced.judged),
                            "n_clusters": curves.n_clusters,
                            "n_seeds": 1 if ranking == "effect" else self.config.control_seeds,
                        }
                    )

    def _assemble(
        self, judged: JudgedEdges, at: int, traced: Traced, curves: Curves, over_clusters: Any
    ) -> dict[str, Any]:
        last = len(self.snapshots) - 1
        change = over_clusters(traced.end - traced.start)
        edges = over_clusters(traced.effects[:, :OTHERS].sum(axis=(1, 2)))
        jaccard, overlap = compute_overlap(judged, at, last)
        return {
            "change": float(change.mean),
            "change_se": float(change.se),
            "edges_effect": float(edges.mean),
            "edges_effect_se": float(edges.se),
            **dict(zip(("reach", "reach_low", "reach_high"), curves.reach, strict=True)),
            "n_edges": int((judged.n_prompts[:, at] > 0).sum()),
            "n_significant": int(judged.significant[:, at].sum()),
            "n_circuit": int(judged.circuit[:, at].sum()),
            "n_enough": curves.fewest_that_keep(traced.sizes, self.config.explained),
            "n_effective": effective_number(judged.size[:, at]),
            "jaccard_last": jaccard,
            "overlap_last": overlap,
            "jaccard_before": compute_overlap(judged, at, at - 1)[0] if at else float("nan"),
        }

    def _add_edges(self, name: str, given: Circuits, judged: JudgedEdges) -> None:
        """Edges that are in any snapshot's circuit, or among its strongest."""
        strongest = np.argsort(np.argsort(-np.abs(judged.effect), axis=0, kind="stable"), axis=0) < LISTED
        listed = np.flatnonzero((judged.circuit | (strongest & (judged.effect != 0))).any(axis=1))
        order = listed[np.argsort(-np.abs(judged.effect[listed]).max(axis=1, initial=0.0), kind="stable")]
        for edge in order:
            first, last = given.starts[judged.pairs[edge, 0]], given.ends[judged.pairs[edge, 1]]
            for at, snapshot in enumerate(self.snapshots):
                self.edges.append(
                    {
                        "edge": f"{first} → {last}",
                        "upstream": int(first),
                        "downstream": int(last),
                        "behaviour": name,
                        "snapshot": snapshot.label,
                        "step": snapshot.step,
                        "effect": float(judged.effect[edge, at]),
                        "effect_se": float(judged.se[edge, at]),
                        "effect_low": float(judged.low[edge, at]),
                        "effect_high": float(judged.high[edge, at]),
                        "p": float(judged.p[edge, at]),
                        "q": float(judged.q[edge, at]),
                        "p_family": float(judged.p_family[edge, at]),
                        "significant": bool(judged.significant[edge, at]),
                        "in_circuit": bool(judged.circuit[edge, at]),
                        "n": len(given.pairs),
                        "n_prompts": int(judged.n_prompts[edge, at]),
                        "n_clusters": int(judged.n_clusters[edge, at]),
                    }
                )

    def _tell(self, name: str) -> None:
        rows = [row for row in self.assembly if row["behaviour"] == name]
        self.circuits[name] = {row["snapshot"]: row["n_circuit"] for row in rows}
        end = rows[-1]
        if not end["n_circuit"]:
            self.told.append(f"{name}: no edge counts in {end['snapshot']}, the last snapshot.")
            return
        began = next(row for row in rows if row["n_circuit"])
        halves = next(row for row in rows if row["overlap_last"] >= HALF)
        first = "and in no earlier one" if began is end else f"the first in {began['snapshot']}"
        when = "in none before it" if halves is end else f"from {halves['snapshot']} on"
        reach = "" if np.isnan(end["reach"]) else f" Moving all traced edges makes {end['reach']:.0%} of the change."
        edges = f"{end['n_circuit']} edge{'s' if end['n_circuit'] > 1 else ''}"
        self.told.append(
            f"{name}: a circuit of {edges} in {end['snapshot']}, {first}; half of what the edges do "
            f"at the end is there {when}.{reach}"
        )

    def summary(self) -> dict[str, Any]:
        """Poor estimates first, then what was found."""
        warnings = [f"{line} {MEANING}" for line in name_poor(self.poor)]
        return {"n_poor": len(self.poor), "circuit": self.circuits, "sentences": [*warnings, *self.told]}


def _node_rows(
    place: Mapping[str, Any], given: Circuits, traced: Traced, over_clusters: Any
) -> list[Mapping[str, Any]]:
    """Every chosen latent of both sides, and what its effect is made of."""
    own = traced.effects[:, :OTHERS]
    rows: list[Mapping[str, Any]] = []
    for at, latent in enumerate(given.starts):
        sums, by_edges = over_clusters(traced.started[:, at]), float(own[:, at].sum(axis=1).mean())
        rest = float(traced.through[:, at].mean()) - by_edges
        parts = {"by_edges": by_edges, "by_others": None, "by_error": None, "rest": rest}
        rows.append({**place, "side": "upstream", "latent": int(latent), **_mean(sums), **parts})
    for at, latent in enumerate(given.ends):
        sums = over_clusters(traced.nodes[:, at])
        into = traced.effects[:, :, at].mean(axis=0)
        parts = {
            "by_edges": float(into[:OTHERS].sum()),
            "by_others": float(into[OTHERS]),
            "by_error": float(into[ERROR]),
            "rest": float(sums.mean - into.sum()),
        }
        rows.append({**place, "side": "downstream", "latent": int(latent), **_mean(sums), **parts})
    return rows


def _mean(sums: ClusterSums) -> dict[str, float]:
    return {"effect": float(sums.mean), "effect_se": float(sums.se)}
