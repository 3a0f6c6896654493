"""What is said of one behaviour: mean effects with errors and tests, RelIE, how good the estimate is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.indirect_effects.attribution import Attributed
from ontogeny.analyses.indirect_effects.config import IndirectEffectsConfig
from ontogeny.latents.clusters import (
    ClusterSums,
    draw_weights,
    flip_blocks,
    percentile_interval,
    renumber,
    sum_clusters,
)
from ontogeny.latents.effect_sums import EffectSums, sum_by_cluster
from ontogeny.latents.many_tests import adjust_p
from ontogeny.latents.relie import RelativeEffects, class_probabilities, compute_relative_effects

DRAWN_AT_A_TIME = 512
"""Latents whose bootstrap is in memory at a time."""


@dataclass(frozen=True)
class Judged:
    """One behaviour; latents are those with an effect on any prompt, ascending.

    `n_prompts`, `n_clusters` [latent]: where the latent has an effect. `total` [source]: mean |m(x') - m(x)|.
    """

    latents: Int[np.ndarray, "latent"]
    n_prompts: Int[np.ndarray, "latent"]
    n_clusters: Int[np.ndarray, "latent"]
    effect: Float[np.ndarray, "latent source"]
    se: Float[np.ndarray, "latent source"]
    p: Float[np.ndarray, "latent source"]
    q: Float[np.ndarray, "latent source"]
    p_family: Float[np.ndarray, "latent source"]
    significant: Bool[np.ndarray, "latent source"]
    total: Float[np.ndarray, "source"]
    sums: EffectSums
    total_sums: ClusterSums


def judge_effects(given: Attributed, config: IndirectEffectsConfig) -> Judged:
    """Means, errors over clusters, sign-flip tests over all latents and sources."""
    effects = given.effects
    clusters, n_clusters = renumber(given.pairs.cluster)
    sums = sum_by_cluster(effects, clusters, n_clusters)
    tests = flip_blocks(sums.iter_tests, n_clusters, config.flips, config.seed, config.min_clusters)
    p, family = tests.p.reshape(sums.mean.shape), tests.p_family.reshape(sums.mean.shape)
    q = adjust_p(p)
    places = np.searchsorted(effects.active, effects.latent)
    totals = sum_clusters(np.abs(effects.total), clusters, n_clusters)
    return Judged(
        latents=effects.active,
        n_prompts=np.bincount(places, minlength=len(effects.active)),
        n_clusters=sums.n_clusters,
        effect=sums.mean,
        se=sums.se,
        p=p,
        q=q,
        p_family=family,
        significant=q <= config.false_discoveries,
        total=totals.mean,
        sums=sums,
        total_sums=totals,
    )


@dataclass(frozen=True)
class Relative:
    """RelIE of the latents that have a significant effect in a series, `chosen` places among the judged latents.

    `places`: the series' sources in order of training; `probability` [chosen class]; intervals over draws of clusters.
    """

    chosen: Int[np.ndarray, "chosen"]
    places: Sequence[int]
    found: RelativeEffects
    probability: Float[np.ndarray, "chosen class"]
    share_low: Float[np.ndarray, "chosen source"]
    share_high: Float[np.ndarray, "chosen source"]
    rise_low: Float[np.ndarray, "chosen"]
    rise_high: Float[np.ndarray, "chosen"]


def compute_relie(
    judged: Judged, places: Sequence[int], time: Float[np.ndarray, "source"], config: IndirectEffectsConfig
) -> Relative:
    """RelIE along one series of sources, with a bootstrap of clusters."""
    order = list(places)
    chosen = np.flatnonzero(judged.significant[:, order].any(axis=1))
    scaled = config.scale == "effect"
    effect, se, significant = (
        each[chosen][:, order] for each in (judged.effect, np.nan_to_num(judged.se), judged.significant)
    )
    total = judged.total[order] if scaled else None
    found = compute_relative_effects(effect, se, significant, time, total)
    weights = draw_weights(len(judged.sums.size), config.draws, config.seed)
    totals = judged.total_sums.bootstrap(weights)[:, order] if scaled else None
    parts = []
    for part in np.split(np.arange(len(chosen)), range(DRAWN_AT_A_TIME, len(chosen), DRAWN_AT_A_TIME)):
        draws = judged.sums.take(chosen[part]).bootstrap(weights)[:, :, order]
        probability, shares, rises = class_probabilities(draws, se[part], significant[part], time, totals)
        parts.append((probability, *percentile_interval(shares), *percentile_interval(rises)))
    return Relative(chosen, order, found, *(np.concatenate(column) for column in zip(*parts, strict=True)))
