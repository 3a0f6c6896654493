"""What is said of one behaviour's edges: mean effects with errors and tests, circuits, how they assemble."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.circuits.config import CircuitsConfig
from ontogeny.analyses.circuits.tracing import MODES, Circuits, Traced
from ontogeny.interventions.edges import ERROR, OTHERS
from ontogeny.latents.clusters import (
    ClusterSums,
    draw_weights,
    flip_signs,
    percentile_interval,
    renumber,
    sum_clusters,
)
from ontogeny.latents.many_tests import adjust_p

LEAST_T = 2.0
"""A change of the metric smaller than this many standard errors is none to take shares of."""


@dataclass(frozen=True)
class JudgedEdges:
    """The edges that are on in any snapshot: `pairs` [edge 2], places among the chosen latents; all else [edge
    snapshot]. `size`: |effect| less what noise adds. `circuit`: of the significant edges that are worth the least asked
    for, the fewest, the strongest first, that hold the share asked for of them all."""

    pairs: Int[np.ndarray, "edge 2"]
    effect: Float[np.ndarray, "edge snapshot"]
    se: Float[np.ndarray, "edge snapshot"]
    low: Float[np.ndarray, "edge snapshot"]
    high: Float[np.ndarray, "edge snapshot"]
    p: Float[np.ndarray, "edge snapshot"]
    q: Float[np.ndarray, "edge snapshot"]
    p_family: Float[np.ndarray, "edge snapshot"]
    significant: Bool[np.ndarray, "edge snapshot"]
    circuit: Bool[np.ndarray, "edge snapshot"]
    size: Float[np.ndarray, "edge snapshot"]
    n_prompts: Int[np.ndarray, "edge snapshot"]
    n_clusters: Int[np.ndarray, "edge snapshot"]


def judge_edges(given: Circuits, config: CircuitsConfig) -> JudgedEdges:
    """Means, errors over clusters, sign-flip tests over all edges and snapshots, circuits."""
    clusters, n_clusters = renumber(given.pairs.cluster)
    own = [traced.effects[:, : len(given.starts)] for traced in given.traces]
    alive = np.any([(each != 0).any(axis=0) for each in own], axis=0)
    pairs = np.argwhere(alive)
    values = np.stack([each[:, alive] for each in own], axis=2)
    sums = sum_clusters(values, clusters, n_clusters)
    tests = flip_signs(sums.total.reshape(n_clusters, -1), config.flips, config.seed, config.min_clusters)
    p, family = tests.p.reshape(sums.total.shape[1:]), tests.p_family.reshape(sums.total.shape[1:])
    q = adjust_p(p)
    effect, se = sums.mean, sums.se
    low, high = _intervals(sums, config)
    significant = q <= config.false_discoveries
    counted = significant & (np.abs(effect) >= config.least * np.abs(effect.sum(axis=0)).max())
    return JudgedEdges(
        pairs=pairs,
        effect=effect,
        se=se,
        low=low,
        high=high,
        p=p,
        q=q,
        p_family=family,
        significant=significant,
        circuit=hold_most(np.abs(effect) * counted, config.explained),
        size=np.sqrt(np.maximum(0.0, np.square(effect) - np.square(np.nan_to_num(se)))),
        n_prompts=(values != 0).sum(axis=0),
        n_clusters=(sums.total != 0).sum(axis=0),
    )


def _intervals(sums: ClusterSums, config: CircuitsConfig) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every edge's interval over draws of clusters, a snapshot at a time; NaN with one cluster."""
    n_clusters = len(sums.size)
    weights = draw_weights(n_clusters, config.draws if n_clusters > 1 else 0, config.seed)
    ends = [
        percentile_interval(ClusterSums(sums.total[..., at], sums.size).bootstrap(weights))
        for at in range(sums.total.shape[2])
    ]
    low, high = (np.stack(each, axis=1) for each in zip(*ends, strict=True))
    return low, high


def hold_most(size: Float[np.ndarray, "edge snapshot"], share: float) -> Bool[np.ndarray, "edge snapshot"]:
    """In every snapshot the fewest entries, the largest first, that hold at least this share of the sum."""
    order = np.argsort(-size, axis=0, kind="stable")
    ranked = np.take_along_axis(size, order, axis=0)
    before = np.cumsum(ranked, axis=0) - ranked
    held = (before < share * size.sum(axis=0)) & (ranked > 0)
    out = np.zeros(size.shape, dtype=bool)
    np.put_along_axis(out, order, held, axis=0)
    return out


def effective_number(size: Float[np.ndarray, "edge"]) -> float:
    """exp(entropy of the shares): 1 where one edge holds all, n where n hold the same; NaN where none holds any."""
    total = size.sum()
    if total == 0:
        return float("nan")
    share = size[size > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def compute_overlap(judged: JudgedEdges, one: int, other: int) -> tuple[float, float]:
    """Of two snapshots' circuits: edges in both over edges in either; and the same of all edges by size, with sign,
    Σ min / Σ max, where edges of opposite effects share nothing. NaN where there is nothing to compare."""
    both, either = (
        fold(judged.circuit[:, one], judged.circuit[:, other]).sum() for fold in (np.logical_and, np.logical_or)
    )
    sign = np.sign(judged.effect)
    first, second = judged.size[:, one] * sign[:, one], judged.size[:, other] * sign[:, other]
    least = np.where(first * second > 0, np.minimum(np.abs(first), np.abs(second)), 0.0).sum()
    most = np.where(first * second > 0, np.maximum(np.abs(first), np.abs(second)), np.abs(first) + np.abs(second)).sum()
    return float(both / either) if either else float("nan"), float(least / most) if most else float("nan")


PARTS = (
    "edges",
    "other latents upstream",
    "unexplained upstream",
    "rest of chosen latents",
    "other latents downstream",
    "unexplained downstream",
    "path",
)


def split_change(traced: Traced) -> dict[str, Float[np.ndarray, "prompt"]]:
    """What the downstream movement changes, in parts that add up to it exactly: by what the chosen latents read of what
    moves upstream; what they do for other reasons (other snapshots' say in the code, gates, bends); the other latents;
    what is unexplained; and what the path's quadrature misses."""
    into = traced.effects.sum(axis=2)
    parts = (
        into[:, :OTHERS].sum(axis=1),
        into[:, OTHERS],
        into[:, ERROR],
        traced.nodes.sum(axis=1) - into.sum(axis=1),
        traced.latents - traced.nodes.sum(axis=1),
        traced.whole - traced.latents,
        traced.end - traced.start - traced.whole,
    )
    return dict(zip(PARTS, parts, strict=True))


@dataclass(frozen=True)
class Curves:
    """One snapshot's circuits on the judged prompts: `metric` [mode ranking size], nats; `share`, `low`, `high` alike:
    prune, keep: how much of what moving all of it takes is kept; ablate: how much is left. NaN where nothing is taken.
    """

    metric: Float[np.ndarray, "mode ranking size"]
    share: Float[np.ndarray, "mode ranking size"]
    low: Float[np.ndarray, "mode ranking size"]
    high: Float[np.ndarray, "mode ranking size"]
    n_clusters: int

    @property
    def reach(self) -> tuple[float, float, float]:
        """Of the whole change, what moving all traced edges makes, with its interval."""
        everything = (MODES.index("ablate"), 0, -1)
        return tuple(1 - float(each[everything]) for each in (self.share, self.high, self.low))  # type: ignore[return-value]

    def fewest_that_keep(self, sizes: Int[np.ndarray, "size"], share: float) -> int | None:
        """The smallest circuit run that keeps this share of what all traced edges do; None without a change to keep."""
        kept = np.flatnonzero(self.share[MODES.index("prune"), 0] >= share)
        return int(sizes[kept[0]]) if len(kept) else None


def judge_curves(given: Circuits, traced: Traced, config: CircuitsConfig) -> Curves:
    """Shares of the metric's change with cluster-bootstrap intervals.

    With c the metric untouched, a with all traced edges moved, b with all at the baseline, of means over prompts:
    prune (a − m) / (a − c); keep, ablate (b − m) / (b − c). Source: arXiv 2403.19647 §4.
    """
    clusters, n_clusters = renumber(given.pairs.cluster[traced.judged])
    sums = sum_clusters(np.moveaxis(traced.curves, -1, 0), clusters, n_clusters)
    weights = draw_weights(n_clusters, config.draws if n_clusters > 1 else 0, config.seed)
    prune, keep, ablate = (MODES.index(mode) for mode in MODES)
    clean = (ablate, 0, 0)
    ends = {prune: (prune, 0, 0), keep: (keep, 0, 0), ablate: (keep, 0, 0)}

    def shares(metric: Float[np.ndarray, "*draw mode ranking size"]) -> Float[np.ndarray, "*draw mode ranking size"]:
        out = np.full(metric.shape, np.nan)
        for mode, end in ends.items():
            if _changes(sums, end, clean):
                moved, untouched = (metric[(..., *place)][..., None, None] for place in (end, clean))
                with np.errstate(invalid="ignore", divide="ignore"):
                    out[..., mode, :, :] = (moved - metric[..., mode, :, :]) / (moved - untouched)
        return out

    low, high = percentile_interval(shares(sums.bootstrap(weights)))
    return Curves(sums.mean, shares(sums.mean), low, high, n_clusters)


def _changes(sums: ClusterSums, end: tuple[int, int, int], clean: tuple[int, int, int]) -> bool:
    """Whether the metric differs between two states by more than chance."""
    difference = ClusterSums(sums.total[(..., *end)] - sums.total[(..., *clean)], sums.size)
    return bool(abs(difference.mean) > LEAST_T * np.nan_to_num(difference.se, nan=np.inf))
