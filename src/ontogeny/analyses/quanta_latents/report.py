"""Latents and quanta put together: who belongs to whom, when each came, and what that says."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta_latents import columns
from ontogeny.analyses.quanta_latents.config import QuantaLatentsConfig
from ontogeny.analyses.quanta_latents.sample import HeldOutQuanta
from ontogeny.analyses.quanta_latents.times import (
    LatentTimes,
    QuantaTimes,
    compute_latent_times,
    compute_quanta_times,
)
from ontogeny.latents.joint_emergence import compare_times
from ontogeny.results import Result, Table, View
from ontogeny.types import source_names

Row = dict[str, Any]
Z95 = 1.96


def make_result(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> Result:
    """All tables of latents and quanta."""
    assert inputs.losses is not None
    held_out = HeldOutQuanta.of(inputs, config)
    times = compute_quanta_times(inputs, config)
    latents = compute_latent_times(inputs, config, inputs.losses.own, times.axis)
    listed = list(_listed(held_out, config))
    together = [row for each in latents for row in _together_rows(config, held_out, listed, times, each)]
    tables = {
        "quanta": (columns.QUANTA, _quantum_rows(held_out, times)),
        "enriched": (columns.ENRICHED, _enriched_rows(held_out, listed)),
        "pairs": (columns.PAIRS, _pair_rows(held_out, listed, times, latents)),
        "together": (columns.TOGETHER, together),
        "courses": (columns.COURSES, _course_rows(inputs, held_out, listed, times, latents)),
    }
    found = {
        name: Table.from_rows(name, known, [_without_nan(row) for row in rows], columns.schema_of(known))
        for name, (known, rows) in tables.items()
    }
    summary = _summary(held_out, found["together"].rows())
    return Result("quanta_latents", tuple(found.values()), _views(times), summary)


def _without_nan(row: Row) -> Row:
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}


def _listed(held_out: HeldOutQuanta, config: QuantaLatentsConfig) -> Iterator[tuple[int, int, int]]:
    """(quantum, rank, place among the enriched) of the latents that are listed."""
    starts = np.searchsorted(held_out.enriched.group, np.arange(held_out.n_quanta + 1))
    for quantum in range(held_out.n_quanta):
        for rank, place in enumerate(range(starts[quantum], starts[quantum + 1])[: config.per_quantum]):
            yield quantum, rank, place


def _quantum_rows(held_out: HeldOutQuanta, times: QuantaTimes) -> Iterator[Row]:
    enriched = held_out.enriched
    for quantum in range(held_out.n_quanta):
        mine = held_out.labels == quantum
        there = mine & (held_out.place >= 0)
        called = np.flatnonzero(enriched.group == quantum)
        yield {
            "quantum": quantum,
            "n_tokens": int(mine.sum()),
            "n_held_out": int(there.sum()),
            "n_documents": len(np.unique(held_out.documents[there])),
            "asked": bool(held_out.asked[quantum]),
            "n_latents": len(called) if held_out.asked[quantum] else None,
            "n_latents_shuffled": int(held_out.shuffled[quantum]) if held_out.asked[quantum] else None,
            "best_latent": int(enriched.latent[called[0]]) if len(called) else None,
            "emergence_step": times.step(times.at[quantum]),
            "emergence_low": times.step(times.low[quantum]),
            "emergence_high": times.step(times.high[quantum]),
        }


def _enriched_rows(held_out: HeldOutQuanta, listed: list[tuple[int, int, int]]) -> Iterator[Row]:
    found = held_out.enriched
    sizes = np.bincount(held_out.labels[held_out.covered], minlength=held_out.n_quanta)
    for quantum, rank, place in listed:
        log_odds, se = float(found.log_odds[place]), float(found.log_odds_se[place])
        yield {
            "quantum": quantum,
            "rank": rank,
            "latent": int(found.latent[place]),
            "n_tokens": int(sizes[quantum]),
            "n_on": int(found.n_on[place]),
            "n_on_documents": int(found.n_documents[place]),
            "n_others": int(sizes.sum() - sizes[quantum]),
            "n_on_others": int(found.n_elsewhere[place]),
            "lift": float(found.lift[place]),
            "log_odds": log_odds,
            "log_odds_low": log_odds - Z95 * se,
            "log_odds_high": log_odds + Z95 * se,
            "p": float(found.p[place]),
            "q": float(found.q[place]),
        }


def _pair_rows(
    held_out: HeldOutQuanta, listed: list[tuple[int, int, int]], times: QuantaTimes, latents: list[LatentTimes]
) -> Iterator[Row]:
    for quantum, rank, place in listed:
        latent = int(held_out.enriched.latent[place])
        for each in latents:
            rise = float(each.half_rise[latent])
            yield {
                "quantum": quantum,
                "rank": rank,
                "latent": latent,
                "hook_point": each.hook_point,
                "onset_step": times.step(each.onset[latent]),
                "half_rise_step": times.step(rise),
                "emergence_step": times.step(times.at[quantum]),
                "difference": rise - float(times.at[quantum]),
                "difference_low": rise - float(times.high[quantum]),
                "difference_high": rise - float(times.low[quantum]),
            }


def _together_rows(
    config: QuantaLatentsConfig,
    held_out: HeldOutQuanta,
    listed: list[tuple[int, int, int]],
    times: QuantaTimes,
    latents: LatentTimes,
) -> Iterator[Row]:
    """The best latent of each quantum, and the mean over all listed ones, by half-rise and by onset."""
    quanta = np.array([quantum for quantum, _, _ in listed], dtype=np.int64)
    ranks = np.array([rank for _, rank, _ in listed], dtype=np.int64)
    chosen = held_out.enriched.latent[[place for _, _, place in listed]]
    for event in ("half_rise", "onset"):
        when = getattr(latents, event)[chosen]
        for which, wanted in (("best", ranks == 0), ("all", ranks >= 0)):
            known = wanted & np.isfinite(when) & np.isfinite(times.at[quanta])
            ours = np.unique(quanta[known])
            mean = np.array([when[known & (quanta == quantum)].mean() for quantum in ours])
            found = compare_times(mean, times.at[ours], config.draws, config.shuffles, config.seed)
            yield {
                "hook_point": latents.hook_point,
                "latents": which,
                "event": event,
                "n": found.n,
                "difference": found.difference,
                "difference_low": found.low,
                "difference_high": found.high,
                "distance": found.distance,
                "shuffled_distance": found.shuffled_distance,
                "shuffled_low": found.shuffled_low,
                "shuffled_high": found.shuffled_high,
                "distance_p": found.distance_p,
                "spearman": found.spearman,
                "spearman_p": found.spearman_p,
            }


def _course_rows(
    inputs: AnalysisInputs,
    held_out: HeldOutQuanta,
    listed: list[tuple[int, int, int]],
    times: QuantaTimes,
    latents: list[LatentTimes],
) -> Iterator[Row]:
    """The table of skill, latents and step."""
    names = source_names(inputs.sources)
    for quantum, rank, place in listed:
        latent = int(held_out.enriched.latent[place])
        for each in latents:
            for number, (source, snapshot) in enumerate(zip(each.places, each.snapshots, strict=True)):
                yield {
                    "quantum": quantum,
                    "rank": rank,
                    "latent": latent,
                    "source": names[source],
                    "snapshot": inputs.sources[source].snapshot.label,
                    "step": inputs.sources[source].snapshot.step,
                    "strength": float(each.share[latent, number]),
                    "loss": float(times.loss[quantum, snapshot]),
                    "loss_se": float(times.se[quantum, snapshot]),
                }


def _views(times: QuantaTimes) -> tuple[View, ...]:
    x = "step" if times.has_steps else "snapshot"
    return (
        View("scatter", "pairs", "Do both emerge together?", x="emergence_step", y=("half_rise_step",)),
        View("line", "courses", "Loss of each quantum", x=x, y=("loss",), group="quantum", error="loss_se"),
        View("line", "courses", "Strength of its latents", x=x, y=("strength",), group="quantum"),
        View("table", "together", "Differences of their times"),
        View("table", "enriched", "Latents of each quantum"),
    )


def _summary(held_out: HeldOutQuanta, together: list[Row]) -> dict[str, Any]:
    there, asked = int((held_out.place >= 0).sum()), int(held_out.asked.sum())
    with_latents = len(np.unique(held_out.enriched.group))
    called, shuffled = len(held_out.enriched.p), int(held_out.shuffled.sum())
    told = [
        f"{there:,} of {len(held_out.place):,} clustered tokens have the token before them in the held-out text; the "
        f"others are left out. {asked} of {held_out.n_quanta} quanta have enough of them.",
        f"{with_latents} of these have latents of their own: {called:,} pairs of latent and quantum are called, and "
        f"{shuffled:,} with quanta shuffled among the tokens.",
    ]
    told.append(_time_sentence(together))
    return {
        "n_tokens": len(held_out.place),
        "n_held_out": there,
        "n_quanta": held_out.n_quanta,
        "n_asked": asked,
        "n_with_latents": with_latents,
        "n_pairs": called,
        "n_pairs_shuffled": shuffled,
        "n_tests": held_out.enriched.n_tests,
        "sentences": told,
    }


def _time_sentence(together: list[Row]) -> str:
    """By half-rise, of the best latents where enough of them rise, else of all that are listed."""
    known = [row for row in together if row["event"] == "half_rise" and row["difference"] is not None]
    if not known:
        return "Fewer than three quanta emerge within the series and have a latent that does: no times to compare."
    row = min(known, key=lambda each: each["latents"] != "best")
    whose = "The best latents" if row["latents"] == "best" else "The rising latents"
    return (
        f"{whose} of {row['n']} quanta half rise {row['difference']:+.2f} octaves ({row['difference_low']:+.2f} to "
        f"{row['difference_high']:+.2f}) after their quanta emerge; they are {row['distance']:.2f} apart, and "
        f"{row['shuffled_distance']:.2f} when shuffled among quanta (p = {row['distance_p']:.2g})."
    )
