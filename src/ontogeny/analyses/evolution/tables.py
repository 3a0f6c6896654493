"""Evolution's tables about latents: their lives, trajectories and directions. The two long ones are streams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from ontogeny.analyses.evolution import columns
from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.evolution.seeds import SeedSpread
from ontogeny.analyses.evolution.series import SeriesEvolution, iter_cosines
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.results import Table

ROWS_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class Followed:
    """A series with its latents, and what other seeds say of them (None with one seed)."""

    evolution: SeriesEvolution
    spread: SeedSpread | None


def latent_table(series: Sequence[Followed]) -> Table:
    """A row a latent and series, sorted by latent."""
    schema = columns.schema_of(columns.LATENTS)
    parts = [pa.table(_latent_columns(each), schema=schema) for each in series]
    return Table("latents", columns.LATENTS, pa.concat_tables(parts), sorted_by=("latent",))


def _latent_columns(followed: Followed) -> dict[str, Any]:
    evolution, spread = followed.evolution, followed.spread
    plan, lives = evolution.plan, evolution.lives
    n_latents = len(evolution.norms)
    turning = evolution.turning
    rotation = np.where(evolution.alive[:, None], np.nan_to_num(evolution.rotation, nan=-1.0), -1.0)
    rotated = rotation.max(axis=1)
    half_rise = _clocks(evolution, lives.half_rise)
    missing = np.full(n_latents, np.nan)
    return {
        "latent": np.arange(n_latents),
        "hook_point": [plan.hook_point] * n_latents,
        "class": lives.classes,
        "n_active": evolution.n_active,
        "n_sources": np.full(n_latents, len(plan)),
        "n_live": lives.live.sum(axis=1),
        "onset": _named(plan.names, lives.onset),
        "onset_step": _named(plan.steps, lives.onset),
        "onset_after_step": _named(plan.steps, np.maximum(lives.onset - 1, -1)),
        "peak_source": _named(plan.names, lives.peak),
        "peak_step": _named(plan.steps, lives.peak),
        "half_rise": _nullable(lives.half_rise),
        "half_rise_step": half_rise["step"],
        "half_rise_step_low": _clocks(evolution, missing if spread is None else spread.half_rise_low)["step"],
        "half_rise_step_high": _clocks(evolution, missing if spread is None else spread.half_rise_high)["step"],
        "half_rise_tokens": half_rise["tokens"],
        "lifetime": _nullable(lives.lifetime),
        "vanish": _named(plan.names, lives.vanish),
        "vanish_step": _named(plan.steps, lives.vanish),
        "censored": _censored(evolution),
        "least_kept": _nullable(evolution.least_kept),
        "norm": evolution.norms.max(axis=1),
        "norm_low": _nullable(missing if spread is None else spread.peak_low),
        "norm_high": _nullable(missing if spread is None else spread.peak_high),
        "n_seeds": np.ones(n_latents, np.int64) if spread is None else 1 + spread.n_matches,
        "same_class": _nullable(missing if spread is None else _ratio(spread.same, spread.n_matches)),
        "turning_point": _named(plan.names, turning.place),
        "turning_step": _named(plan.steps, turning.place),
        "turning_cosine": _nullable(turning.cosine),
        "turning_explained": _nullable(turning.explained),
        "turning_p": _nullable(turning.p_value),
        "turning_p_random": _nullable(turning.p_random),
        "turning_q": _nullable(evolution.q_value),
        "largest_rotation": _nullable(np.where(rotated >= 0, rotated, np.nan)),
        "largest_rotation_source": _named(plan.names, np.where(rotated >= 0, rotation.argmax(axis=1) + 1, -1)),
    }


def trajectory_table(series: Sequence[Followed]) -> Table:
    """A row a latent and source, by latent; a stream, since it may be long."""
    schema = columns.schema_of(columns.TRAJECTORIES)
    n_latents = len(series[0].evolution.norms)
    step = max(1, ROWS_AT_A_TIME // sum(len(each.evolution.plan) for each in series))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, n_latents, step):
            block = slice(start, min(start + step, n_latents))
            yield _interleave([_trajectory_columns(each, block) for each in series], block, schema)

    return Table("trajectories", columns.TRAJECTORIES, _reader(schema, batches()), sorted_by=("latent",))


def _trajectory_columns(followed: Followed, block: slice) -> dict[str, Any]:
    """Columns [latent source] of a block, or [source] where they are the same for all latents."""
    evolution, spread = followed.evolution, followed.spread
    plan, strength, dimensionality = evolution.plan, evolution.lives.strength[block], evolution.dimensionality[block]
    largest = strength.max(axis=1, keepdims=True)
    missing = np.full(strength.shape, np.nan)
    previous = np.concatenate([missing[:, :1], evolution.neighbour[block]], axis=1)
    return {
        "hook_point": [plan.hook_point] * len(plan),
        "source": plan.names,
        "step": plan.steps,
        "tokens": plan.tokens,
        "norm": evolution.norms[block],
        "norm_low": missing if spread is None else spread.norm_low[block],
        "norm_high": missing if spread is None else spread.norm_high[block],
        "share": np.divide(strength, largest, out=missing.copy(), where=largest > 0),
        "strength": strength,
        "strength_se": missing if evolution.strength.se is None else evolution.strength.se[block],
        "kept": missing if evolution.strength.kept is None else evolution.strength.kept[block],
        "live": evolution.lives.live[block],
        "cosine_previous": previous,
        "cosine_last": evolution.to_last[block],
        "dimensionality": dimensionality,
    }


def _interleave(parts: Sequence[dict[str, Any]], block: slice, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of all series side by side, row after row by latent."""
    n_latents = block.stop - block.start
    width = sum(len(part["source"]) for part in parts)
    arrays = [pa.array(np.repeat(np.arange(block.start, block.stop), width))]
    for name in schema.names[1:]:
        field = schema.field(name)
        values = [part[name] for part in parts]
        if isinstance(values[0], list):
            places = np.tile(np.arange(width), n_latents)
            arrays.append(pa.array([each for value in values for each in value], field.type).take(pa.array(places)))
        else:
            flat = np.concatenate(values, axis=1).ravel()
            arrays.append(pa.array(flat, field.type, from_pandas=True))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def direction_table(series: Sequence[Followed], dictionary: Crosscoder, config: EvolutionConfig) -> Table:
    """Cosines between all pairs of sources of one series, for the latents that fire most; a stream.

    Rows are sorted by latent where there is one hook point, else by latent within each hook point.
    """
    schema = columns.schema_of(columns.DIRECTIONS)
    kept = _most_active(series[0].evolution, config.direction_latents)

    def batches() -> Iterator[pa.RecordBatch]:
        for each in series:
            plan = each.evolution.plan
            names, n = pa.array(plan.names), len(plan)
            for block, cosines in iter_cosines(dictionary, plan):
                chosen = kept[(kept >= block.start) & (kept < block.stop)]
                values = cosines[chosen - block.start].ravel()
                pair = np.tile(np.arange(n * n), len(chosen))
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array(np.repeat(chosen, n * n)),
                        names.take(pa.array(pair // n)),
                        names.take(pa.array(pair % n)),
                        pa.array(values, pa.float64(), from_pandas=True),
                    ],
                    schema=schema,
                )

    sorted_by = ("latent",) if len(series) == 1 else ()
    return Table("directions", columns.DIRECTIONS, _reader(schema, batches()), sorted_by=sorted_by)


def _most_active(evolution: SeriesEvolution, count: int) -> Int[np.ndarray, " latent"]:
    """The latents with a life that fire on most tokens, by index."""
    order = np.argsort(-evolution.n_active, kind="stable")
    return np.sort(order[evolution.alive[order]][:count])


def _reader(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, batches)


def _named(names: Sequence[Any], places: Int[np.ndarray, " latent"]) -> list[Any]:
    """What lies at every place, None at −1."""
    every = [*names, None]
    return [every[place] for place in places.tolist()]


def _nullable(values: np.ndarray) -> pa.Array:
    """Float64 with null for NaN."""
    return pa.array(values, pa.float64(), from_pandas=True)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _clocks(evolution: SeriesEvolution, log_time: np.ndarray) -> dict[str, list[float | None]]:
    """Places on the axis as steps and as tokens."""
    axis = evolution.plan.axis
    times = log_time.tolist()
    return {"step": [axis.step_at(time) for time in times], "tokens": [axis.tokens_at(time) for time in times]}


def _censored(evolution: SeriesEvolution) -> list[str | None]:
    lives = evolution.lives
    names = {(False, False): "none", (True, False): "left", (False, True): "right", (True, True): "both"}
    ends = zip(lives.left_censored.tolist(), lives.right_censored.tolist(), (lives.onset >= 0).tolist(), strict=True)
    return [names[left, right] if alive else None for left, right, alive in ends]
