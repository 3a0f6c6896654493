"""Evolution's tables about all latents together: populations, classes, courses, rotation, similarity, strips."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ontogeny.analyses.evolution import columns
from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.evolution.series import SeriesEvolution
from ontogeny.analyses.evolution.tables import Followed
from ontogeny.latents.directions import random_cosine_bound
from ontogeny.latents.shares import wilson_interval
from ontogeny.latents.trajectories import CLASSES, rank_by_birth
from ontogeny.results import Column, Table

STRIPS = 64
"""Strips that the latents are cut into for the picture of all lives."""

Rows = Iterator[dict[str, Any]]


def population_tables(series: Sequence[Followed], config: EvolutionConfig) -> tuple[Table, ...]:
    """Every table that has a row a source, a class or a pair of sources."""
    makers = (
        ("population", columns.POPULATION, _population),
        ("classes", columns.CLASSES, _classes),
        ("courses", columns.COURSES, _courses),
        ("similarity", columns.SIMILARITY, _similarity),
        ("strips", columns.STRIPS, _strips),
    )
    tables = [_table(name, declared, [row for each in series for row in make(each)]) for name, declared, make in makers]
    rotation = [row for each in series for row in _rotation(each.evolution, config)]
    return (*tables, _table("rotation", columns.ROTATION, rotation))


def _table(name: str, declared: tuple[Column, ...], rows: list[dict[str, Any]]) -> Table:
    return Table.from_rows(name, declared, rows, columns.schema_of(declared, live_is_count=name == "population"))


def _moments(evolution: SeriesEvolution) -> list[dict[str, Any]]:
    """The columns that say which source it is."""
    plan = evolution.plan
    return [
        {"hook_point": plan.hook_point, "source": name, "step": step, "tokens": tokens}
        for name, step, tokens in zip(plan.names, plan.steps, plan.tokens, strict=True)
    ]


def _population(followed: Followed) -> Rows:
    evolution = followed.evolution
    total = np.nansum(evolution.dimensionality, axis=0) / evolution.d_model
    for index, moment in enumerate(_moments(evolution)):
        # What lives in the first source was there before the series: nobody saw it born.
        seen = {name: int(getattr(evolution.population, name)[index]) if index else None for name in ("born", "gone")}
        yield {
            **moment,
            "live": int(evolution.population.live[index]),
            **seen,
            "dimensionality": float(total[index]),
            "dimensionality_random": float(evolution.random_dimensionality[index]),
        }


def _classes(followed: Followed) -> Rows:
    evolution, spread = followed.evolution, followed.spread
    for kind, name in enumerate(CLASSES):
        members = evolution.lives.kind == kind
        n, of = int(members.sum()), len(members)
        low, high = wilson_interval(n, of)
        matches, same = (
            (0, 0) if spread is None else (int(spread.n_matches[members].sum()), int(spread.same[members].sum()))
        )
        same_low, same_high = wilson_interval(same, matches)
        yield {
            "hook_point": evolution.plan.hook_point,
            "class": name,
            "n": n,
            "share": n / of,
            "share_low": low,
            "share_high": high,
            "n_matches": matches,
            "same_class": same / matches if matches else None,
            "same_class_low": same_low,
            "same_class_high": same_high,
        }


def _shares(evolution: SeriesEvolution) -> np.ndarray:
    """Strength over its largest [latent source]; 0 where a latent has no life."""
    strength = evolution.lives.strength
    largest = strength.max(axis=1, keepdims=True)
    return np.divide(strength, largest, out=np.zeros_like(strength), where=largest > 0)


def _courses(followed: Followed) -> Rows:
    evolution = followed.evolution
    shares, moments = _shares(evolution), _moments(evolution)
    for kind, name in enumerate(CLASSES):
        members = shares[evolution.lives.kind == kind]
        if name == "never" or len(members) == 0:
            continue
        means = members.mean(axis=0)
        errors = members.std(axis=0, ddof=1) / math.sqrt(len(members)) if len(members) > 1 else [None] * len(means)
        for moment, mean, error in zip(moments, means, errors, strict=True):
            yield moment | {
                "class": name,
                "n": len(members),
                "share": float(mean),
                "share_se": None if error is None else float(error),
            }


def _similarity(followed: Followed) -> Rows:
    evolution = followed.evolution
    plan, similarity = evolution.plan, evolution.similarity
    mean, error = similarity.mean, similarity.se
    for here, source in enumerate(plan.names):
        for there, other in enumerate(plan.names):
            yield {
                "hook_point": plan.hook_point,
                "source": source,
                "other": other,
                "n": int(similarity.n[here, there]),
                "cosine": _known(mean[here, there]),
                "cosine_se": _known(error[here, there]),
            }


def _rotation(evolution: SeriesEvolution, config: EvolutionConfig) -> Rows:
    plan, live, moments = evolution.plan, evolution.lives.live, _moments(evolution)
    pairs = evolution.similarity
    apart = ~np.eye(len(plan), dtype=bool)
    counted = int(pairs.n[apart].sum())
    shuffled = math.degrees(math.acos(pairs.total[apart].sum() / counted)) if counted else None
    random_low = math.degrees(math.acos(random_cosine_bound(evolution.d_model)))
    turned = (evolution.turning.place >= 0) & (np.nan_to_num(evolution.q_value, nan=1.0) <= config.turning_level)
    for interval in range(len(plan) - 1):
        both = live[:, interval] & live[:, interval + 1]
        angles = evolution.rotation[both, interval]
        angles = angles[np.isfinite(angles)]
        yield moments[interval + 1] | {
            "other": plan.names[interval],
            "n": len(angles),
            "rotation": float(angles.mean()) if len(angles) else None,
            "rotation_se": float(angles.std(ddof=1) / math.sqrt(len(angles))) if len(angles) > 1 else None,
            "shuffled": shuffled,
            "random_low": random_low,
            "turning": int((turned & (evolution.turning.place == interval + 1)).sum()),
        }


def _strips(followed: Followed) -> Rows:
    evolution = followed.evolution
    shares, moments = _shares(evolution), _moments(evolution)
    ranked = rank_by_birth(evolution.lives)
    ranked = ranked[evolution.lives.onset[ranked] >= 0]
    for strip, members in enumerate(np.array_split(ranked, min(STRIPS, len(ranked))) if len(ranked) else []):
        for moment, share in zip(moments, shares[members].mean(axis=0), strict=True):
            yield moment | {"strip": strip, "n": len(members), "share": float(share)}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
