"""Tokens put to quanta: tables, pictures, and what they say, the control first."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta_assigned import columns
from ontogeny.analyses.quanta_assigned.config import QuantaAssignedConfig
from ontogeny.analyses.quanta_assigned.sample import AssignedTokens
from ontogeny.latents.clusters import draw_weights, percentile_interval
from ontogeny.latents.group_means import GroupMeans
from ontogeny.quanta.measured import MeasuredLosses
from ontogeny.results import Result, Table, View
from ontogeny.tokens.token_texts import TokenTexts

Row = dict[str, Any]


def make_result(inputs: AnalysisInputs, config: QuantaAssignedConfig) -> Result:
    """All tables of the tokens that were put to quanta."""
    assert inputs.losses is not None
    losses, texts = inputs.losses, TokenTexts(inputs.series.tokenizer)
    sample = AssignedTokens.of(inputs, config)
    tokens = sample.found.tokens
    curves = (losses.own.losses[tokens, column] for column in range(losses.own.losses.shape[1]))
    read = itertools.chain(curves, [sample.found.cosines])
    means = GroupMeans.of(read, sample.quantum, sample.documents, sample.n_quanta)
    last = losses.own.losses[tokens, -1].astype(np.float64)
    weights = draw_weights(means.n_documents, config.draws, config.seed)
    quanta = list(_quantum_rows(sample, losses, means, weights, texts, config))
    tables = (
        Table.from_rows("quanta", columns.QUANTA, quanta, columns.schema_of(columns.QUANTA)),
        Table.from_rows(
            "losses",
            columns.LOSSES,
            _loss_rows(losses, means, weights, config),
            columns.schema_of(columns.LOSSES),
        ),
        Table("assignments", columns.ASSIGNMENTS, _assignments(sample, losses, last, texts)),
    )
    summary = _summary(sample, losses, last, config)
    summary = {**summary, "sentences": _sentences(sample, losses, summary, quanta, config)}
    return Result("quanta_assigned", tables, _views(losses), summary)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _quantum_rows(
    sample: AssignedTokens,
    losses: MeasuredLosses,
    means: GroupMeans,
    weights: np.ndarray,
    texts: TokenTexts,
    config: QuantaAssignedConfig,
) -> Iterator[Row]:
    n_tokens = len(sample.quantum)
    sizes, spread, mean = means.n_tokens, means.spread, means.mean
    drawn = weights @ np.bincount(np.unique(sample.documents, return_inverse=True)[1])
    low, high = percentile_interval(means.draw_sizes(weights) / drawn[:, None], config.level)
    alone = means.n_documents < 2
    own, back = sample.asked[sample.held_out.own], sample.asked[sample.held_out.found.labels]
    predicted = losses.documents.predicted(sample.found.tokens)
    bound = np.full(sample.n_quanta, np.inf)
    bound[sample.asked] = sample.bounds.cosine
    for quantum in range(sample.n_quanta):
        ids, counts = np.unique(predicted[sample.quantum == quantum], return_counts=True)
        mine, came = own == quantum, back == quantum
        yield {
            "quantum": quantum,
            "top_token": texts.of(ids[[counts.argmax()]])[0].as_py() if len(ids) else None,
            "top_share": float(counts.max() / counts.sum()) if len(ids) else None,
            "n_assigned": int(sizes[quantum]),
            "n_documents": int(spread[quantum]),
            "share": float(sizes[quantum] / n_tokens),
            "share_low": None if alone else _number(low[quantum]),
            "share_high": None if alone else _number(high[quantum]),
            "cosine": _number(mean[quantum, -1]),
            "loss_first": _number(mean[quantum, 0]),
            "loss_last": _number(mean[quantum, -2]),
            "n_landmarks": int(sample.n_landmarks[quantum]),
            "asked": bool(quantum in sample.asked),
            "recall": float(came[mine].mean()) if mine.any() else None,
            "precision": float(mine[came].mean()) if came.any() else None,
            "n_back": int(came.sum()),
            "min_cosine": _number(bound[quantum]),
        }


def _loss_rows(
    losses: MeasuredLosses, means: GroupMeans, weights: np.ndarray, config: QuantaAssignedConfig
) -> Iterator[Row]:
    """One row a quantum that has tokens, and snapshot."""
    n_snapshots = len(losses.own.snapshots)
    ends = [percentile_interval(means.draw_means(weights, column), config.level) for column in range(n_snapshots)]
    mean, se, sizes, spread = means.mean, means.se, means.n_tokens, means.spread
    for quantum in np.flatnonzero(sizes).tolist():
        alone = spread[quantum] < 2
        for column, snapshot in enumerate(losses.own.snapshots):
            yield {
                "quantum": quantum,
                "snapshot": snapshot.label,
                "step": snapshot.step,
                "tokens": snapshot.tokens,
                "loss": float(mean[quantum, column]),
                "loss_se": _number(se[quantum, column]),
                "loss_low": None if alone else _number(ends[column][0][quantum]),
                "loss_high": None if alone else _number(ends[column][1][quantum]),
                "n": int(sizes[quantum]),
            }


def _assignments(sample: AssignedTokens, losses: MeasuredLosses, last: np.ndarray, texts: TokenTexts) -> pa.Table:
    """Every new token, in canonical order."""
    tokens, found = sample.found.tokens, sample.found
    document, position = losses.documents.locate(tokens)
    return pa.table(
        {
            "index": tokens,
            "document": document,
            "position": position,
            "token": texts.of(losses.documents.predicted(tokens)),
            "quantum": pa.array(sample.quantum, pa.int64(), mask=sample.quantum < 0),
            "nearest": sample.nearest,
            "score": found.scores,
            "margin": pa.array(found.margins, pa.float64(), mask=~np.isfinite(found.margins)),
            "cosine": found.cosines,
            "loss": last,
        }
    )


def _views(losses: MeasuredLosses) -> tuple[View, ...]:
    x = "step" if all(snapshot.step is not None for snapshot in losses.own.snapshots) else "snapshot"
    return (
        View("line", "losses", "Mean loss of the tokens of each quantum", x=x, y=("loss",), group="quantum"),
        View("scatter", "quanta", "Landmarks and new tokens", x="n_landmarks", y=("n_assigned",), log_y=True),
        View("scatter", "quanta", "Which quanta are found again", x="recall", y=("precision",)),
        View("histogram", "assignments", "Cosines with the nearest quantum", x="cosine"),
        View("table", "quanta", "Quanta"),
    )


def _share(numerator: np.ndarray, documents: np.ndarray, config: QuantaAssignedConfig) -> tuple[float, Any, Any]:
    """A share with its interval over draws of documents; none in a single document."""
    means = GroupMeans.of([numerator], np.zeros(len(documents), np.int64), documents, 1)
    weights = draw_weights(means.n_documents, config.draws, config.seed)
    low, high = percentile_interval(means.draw_means(weights, 0), config.level)
    alone = means.n_documents < 2
    return float(numerator.mean()), None if alone else _number(low[0]), None if alone else _number(high[0])


def _summary(
    sample: AssignedTokens, losses: MeasuredLosses, last: np.ndarray, config: QuantaAssignedConfig
) -> dict[str, Any]:
    """The control, then what was assigned."""
    right, kept = sample.held_out.right, sample.kept
    accuracy = _share(right, sample.landmark_documents, config)
    none = sample.quantum < 0
    unassigned = _share(none, sample.documents, config)
    return {
        "accuracy": accuracy[0],
        "accuracy_low": accuracy[1],
        "accuracy_high": accuracy[2],
        "accuracy_shuffled": sample.chance,
        "accuracy_assigned": float(right[kept].mean()) if kept.any() else None,
        "landmarks_assigned": float(kept.mean()),
        "n_landmarks": len(right),
        "rule": sample.rule,
        "min_margin": _number(sample.bounds.margin),
        "snapshot": losses.own.labels[sample.place],
        "n_tokens": len(none),
        "n_documents": len(np.unique(sample.documents)),
        "unassigned": unassigned[0],
        "unassigned_low": unassigned[1],
        "unassigned_high": unassigned[2],
        "n_quanta": sample.n_quanta,
        "n_quanta_assigned": len(np.unique(sample.quantum[~none])),
        "loss_assigned": float(last[~none].mean()) if (~none).any() else None,
        "loss_unassigned": float(last[none].mean()) if none.any() else None,
    }


def _sentences(
    sample: AssignedTokens,
    losses: MeasuredLosses,
    summary: dict[str, Any],
    quanta: list[Row],
    config: QuantaAssignedConfig,
) -> list[str]:
    told = [
        f"Control: held out by document, {summary['accuracy']:.1%}{_interval(summary, 'accuracy')} of "
        f"{summary['n_landmarks']:,} clustered tokens come back to their own quantum at {summary['snapshot']} (labels "
        f"shuffled: {summary['accuracy_shuffled']:.1%}); of the {summary['landmarks_assigned']:.1%} that are near and "
        "clear enough to be assigned, "
        + ("none is there." if summary["accuracy_assigned"] is None else f"{summary['accuracy_assigned']:.1%} do.")
    ]
    if not np.isfinite(sample.bounds.margin):
        told.append(
            f"At no margin are {config.precision:.0%} of the clustered tokens right, so that nothing is assigned: "
            "lower precision, give min_margin, or ask for fewer clusters."
        )
    told.append(
        f"{summary['unassigned']:.1%}{_interval(summary, 'unassigned')} of {summary['n_tokens']:,} new tokens rest on "
        f"none of the quanta; the others on {summary['n_quanta_assigned']} of {summary['n_quanta']}."
    )
    if summary["loss_assigned"] is not None and summary["loss_unassigned"] is not None:
        last = losses.own.labels[-1]
        told.append(
            f"At {last} the mean loss of assigned tokens is {summary['loss_assigned']:.2f} nats, of the others "
            f"{summary['loss_unassigned']:.2f}."
        )
    largest = sorted((row for row in quanta if row["n_assigned"]), key=lambda row: -row["n_assigned"])[:3]
    if largest:
        words = (f"{row['quantum']} ({row['share']:.1%}, most often {row['top_token']!r})" for row in largest)
        told.append(f"The largest: quantum {', '.join(words)}.")
    return told


def _interval(summary: dict[str, Any], name: str) -> str:
    low, high = summary[f"{name}_low"], summary[f"{name}_high"]
    return "" if low is None or high is None else f" [{low:.1%}, {high:.1%}]"
