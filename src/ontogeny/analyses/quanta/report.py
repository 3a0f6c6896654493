"""The analysis of quanta put together: tables, pictures, and what they say."""

from typing import Any

import numpy as np

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta import columns
from ontogeny.analyses.quanta.config import QuantaReportConfig
from ontogeny.analyses.quanta.curves import compute_quanta_curves
from ontogeny.analyses.quanta.envelope import make_envelope
from ontogeny.analyses.quanta.sample import QuantaSample
from ontogeny.analyses.quanta.tables import (
    label_table,
    loss_rows,
    match_rows,
    neighbour_rows,
    quantum_rows,
    token_losses,
    token_rows,
    trace_all,
)
from ontogeny.quanta.membership import compute_membership
from ontogeny.quanta.stability import bootstrap_stability
from ontogeny.results import Result, Table, View
from ontogeny.tokens.token_texts import TokenTexts

EVENTS = ("kept", "merge", "split", "birth", "death")


def make_result(inputs: AnalysisInputs, config: QuantaReportConfig) -> Result:
    """All tables of the quanta of the last snapshot at which tokens were clustered."""
    sample = QuantaSample.of(inputs, config)
    assert inputs.losses is not None
    predicted = inputs.losses.documents.predicted(sample.clusters.tokens)
    texts = TokenTexts(inputs.series.tokenizer)
    curves = compute_quanta_curves(sample, config)
    links = trace_all(sample)
    stability, membership = None, None
    if config.stability_draws:
        stability = bootstrap_stability(
            sample.similarity,
            sample.labels,
            sample.clusters.clusterer,
            config.stability_draws,
            sample.documents,
            config.seed,
        )
    if config.membership:
        membership = compute_membership(sample.similarity, sample.labels)
    quanta = list(quantum_rows(sample, curves, links, stability, texts, predicted, config.level))
    tables = [
        _table("quanta", columns.QUANTA, quanta),
        _table("losses", columns.LOSSES, loss_rows(sample, curves)),
        _table("tokens", columns.TOKENS, token_rows(inputs, sample, config, texts, membership)),
        Table("token_losses", columns.TOKEN_LOSSES, token_losses(sample)),
        _table("neighbours", columns.NEIGHBOURS, neighbour_rows(sample, config.neighbours)),
        _table("matches", columns.MATCHES, match_rows(sample, links)),
        Table("labels", columns.LABELS, label_table(sample)),
    ]
    summary = _summary(sample, quanta, links, None if membership is None else membership.explained)
    if config.envelope_counts:
        rows, slopes = make_envelope(sample, config)
        tables.append(_table("envelope", columns.ENVELOPE, rows))
        summary |= slopes
    summary["sentences"] = _sentences(sample, summary, config)
    return Result("quanta", tuple(tables), _views(sample, bool(config.envelope_counts)), summary)


def _table(name: str, known: tuple[columns.Column, ...], rows: Any) -> Table:
    return Table.from_rows(name, known, rows, columns.schema_of(known))


def _views(sample: QuantaSample, envelope: bool) -> tuple[View, ...]:
    x = "step" if all(step is not None for step in sample.steps) else "snapshot"
    views = [
        View("line", "losses", "Mean loss of each quantum", x=x, y=("loss",), group="quantum", error="loss_se"),
        View("histogram", "quanta", "When quanta emerge", x="emergence_step"),
        View("scatter", "quanta", "Size and emergence", x="emergence_step", y=("n_tokens",), log_y=True),
        View("scatter", "quanta", "Cohesion and stability", x="cohesion", y=("stability",)),
        View("table", "quanta", "Quanta"),
    ]
    if envelope:
        title = "Sizes by rank, and planted clusters"
        views.append(View("line", "envelope", title, x="rank", y=("size", "control", "truth"), log_x=True, log_y=True))
    return tuple(views)


def _summary(
    sample: QuantaSample, quanta: list[dict[str, Any]], links: list[list[Any]], explained: float | None
) -> dict[str, Any]:
    """Counts, medians over quanta, and how often clusters were kept, merged, split, born and dead."""
    steps = [row["emergence_step"] for row in quanta if row["emergence_step"] is not None]
    cohesion = [row["cohesion"] for row in quanta if row["cohesion"] is not None]
    names = [sample.measured.labels[place] for place in sample.clusters.snapshots]
    return {
        "n_tokens": len(sample.labels),
        "n_documents": int(sample.documents.max()) + 1,
        "n_quanta": len(quanta),
        "n_snapshots": len(sample.steps),
        "clustered_at": names,
        "median_emergence_step": float(np.median(steps)) if steps else None,
        "censored_left": sum(row["censored"] == "left" for row in quanta),
        "censored_right": sum(row["censored"] == "right" for row in quanta),
        "forgotten": sum(row["forgotten"] for row in quanta),
        "median_cohesion": float(np.median(cohesion)) if cohesion else None,
        "membership_explained": explained,
        "events": {
            f"{one} to {two}": {event: sum(each.event == event for each in found) for event in EVENTS}
            for one, two, found in zip(names, names[1:], links, strict=False)
        },
    }


def _sentences(sample: QuantaSample, summary: dict[str, Any], config: QuantaReportConfig) -> list[str]:
    chosen = sample.clusters.config
    told = [
        f"{summary['n_tokens']:,} tokens with a loss below {chosen.choice.below:g} nats at "
        f"{chosen.chosen_at or sample.measured.labels[-1]} make {summary['n_quanta']} quanta at "
        f"{summary['clustered_at'][-1]}; they were chosen for that low loss, so each curve ends low."
    ]
    inside = summary["n_quanta"] - summary["censored_left"] - summary["censored_right"]
    how = (
        f"{config.emergence_loss:g} nats"
        if config.emergence_loss is not None
        else f"{config.emergence_share:.0%} of its fall"
    )
    if summary["n_snapshots"] > 1:
        when = "" if summary["median_emergence_step"] is None else f", by the median at {_when(sample, summary)}"
        told.append(
            f"The mean loss of {inside} of them passes {how} within the series{when}; {summary['censored_left']} are "
            f"below it from the first snapshot on, {summary['censored_right']} never."
        )
    for pair, events in summary["events"].items():
        told.append(
            f"From {pair}: {events['birth']} clusters are born, {events['kept']} kept, and there are {events['merge']} "
            f"links by merging, {events['split']} by splitting, {events['death']} deaths."
        )
    if summary.get("envelope_slope") is not None:
        told.append(
            f"Sizes fall with rank as rank^{summary['envelope_slope']:.2f} over ranks {summary['envelope_first_rank']} "
            f"to {summary['envelope_last_rank']}; on planted clusters the method is off by "
            f"{summary['envelope_bias']:+.2f}."
        )
    return told


def _when(sample: QuantaSample, summary: dict[str, Any]) -> str:
    known = all(step is not None for step in sample.steps)
    return f"{'step' if known else 'place'} {summary['median_emergence_step']:.3g}"
