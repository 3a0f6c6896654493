"""The tables of behaviours over snapshots."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ontogeny.analyses.behaviours.chance import group_pairs, is_above_chance
from ontogeny.analyses.behaviours.choice import SIMILARITIES, choose_snapshots, compute_similarities
from ontogeny.analyses.behaviours.config import BehavioursConfig
from ontogeny.analyses.behaviours.scores import PairScores, score_series
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.errors import AnalysisError
from ontogeny.latents.clusters import draw_weights, percentile_interval, renumber, sum_clusters
from ontogeny.results import Column, Result, Table, View
from ontogeny.tokens.pairs import PairTokens
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours

CURVES = (
    Column("behaviour", "1", "name of the behaviour"),
    Column("group", "1", "all, or the phenomenon or language of these pairs"),
    Column("snapshot", "1", "label of the snapshot"),
    Column("step", "optimizer steps", "its training step, null where unknown"),
    Column("n", "1", "pairs"),
    Column("n_clusters", "1", "independent groups of pairs"),
    Column("accuracy", "fraction", "pairs in which the right answer is likelier (ties count half)"),
    Column("accuracy_low", "fraction", "its 95 % interval, a bootstrap of clusters"),
    Column("accuracy_high", "fraction", "its upper end"),
    Column("blind", "fraction", "the same after other clusters' prefixes: what the answers alone give; null with one"),
    Column("above_chance", "1", "whether above 1/2 and above blind by every grouping; null with too few clusters"),
    Column("difference", "nats", "mean logit(right) - logit(wrong)"),
    Column("difference_se", "nats", "its standard error over clusters"),
    Column("n_sentences", "1", "pairs with whole sentences"),
    Column("sentence_accuracy", "fraction", "pairs whose right sentence as a whole is at least as likely"),
    Column("sentence_low", "fraction", "its 95 % interval, a bootstrap of clusters"),
    Column("sentence_high", "fraction", "its upper end"),
)
SKIPPED = (
    Column("behaviour", "1", "name of the behaviour"),
    Column("reason", "1", "why pairs were left out; kept: those that were not"),
    Column("n", "1", "how many"),
)
SIMILAR = (
    Column("behaviour", "1", "name of the behaviour on whose tokens activations are compared"),
    Column("snapshot", "1", "label of one snapshot"),
    Column("other", "1", "label of the other"),
    Column("n_tokens", "tokens", "tokens compared"),
    Column("cosine", "1", "mean cosine of the raw activations, as published"),
    Column("cosine_centred", "1", "the same less each snapshot's mean activation"),
    Column("pearson", "1", "mean correlation over dimensions, as published"),
    Column("cka", "1", "linear CKA"),
)
CHOSEN = (
    Column("behaviour", "1", "name of the behaviour"),
    Column("rank", "1", "place among the chosen, in order of training"),
    Column("snapshot", "1", "label of the snapshot"),
    Column("how", "1", "dynamic programming, or manual"),
    Column("gain", "1", "change of accuracy and of activations since the one before; null for the first"),
)
_TEXT = ("behaviour", "group", "snapshot", "other", "reason", "how")
_COUNTS = ("step", "n", "n_clusters", "n_sentences", "n_tokens", "rank")


def make_result(inputs: AnalysisInputs, config: BehavioursConfig) -> Result:
    """Score all snapshots, compare them, choose some."""
    labels = inputs.series.labels
    unknown = [label for label in config.manual if label not in labels]
    if unknown:
        raise AnalysisError(f"analyses.behaviours.manual names {unknown[0]!r}; the series has {', '.join(labels)}.")
    behaviours = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    scores = score_series(inputs, config, behaviours, inputs.hook_point)
    curves, skipped, similar, chosen = [], [], [], []
    for name, pairs in behaviours.items():
        rows = [
            row for index, each in enumerate(scores[name]) for row in _curve(inputs, config, name, pairs, each, index)
        ]
        curves += rows
        counts = {"kept": len(pairs), **pairs.skipped}
        skipped += [{"behaviour": name, "reason": reason, "n": count} for reason, count in counts.items()]
        alike = compute_similarities([each.activations for each in scores[name]]) if config.similarity_tokens else {}
        similar += _similar(labels, name, alike, len(scores[name][0].activations))
        accuracy = np.array([row["accuracy"] for row in rows if row["group"] == "all"])
        chosen += _chosen(labels, config, name, accuracy, alike)
    x = "step" if all(step is not None for step in inputs.series.steps) else "snapshot"
    tables = (
        Table.from_rows("curves", CURVES, curves, _schema(CURVES)),
        Table.from_rows("skipped", SKIPPED, skipped, _schema(SKIPPED)),
        Table.from_rows("similarity", SIMILAR, similar, _schema(SIMILAR)),
        Table.from_rows("chosen", CHOSEN, chosen, _schema(CHOSEN)),
    )
    views = (
        View("line", "curves", "Accuracy", x=x, y=("accuracy",), group="behaviour"),
        View("line", "curves", "Logit difference", x=x, y=("difference",), group="behaviour", error="difference_se"),
        View("heatmap", "similarity", "Similarity of activations", x="snapshot", y=("other",), value=config.similarity),
        View("table", "chosen", "Snapshots that cover the change"),
        View("table", "skipped", "Pairs kept and skipped"),
    )
    return Result("behaviours", tables, views, _summary(behaviours, curves, chosen, config.min_clusters))


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    kinds = {**dict.fromkeys(_TEXT, pa.string()), **dict.fromkeys(_COUNTS, pa.int64()), "above_chance": pa.bool_()}
    return pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in columns])


def _curve(
    inputs: AnalysisInputs, config: BehavioursConfig, name: str, pairs: PairTokens, scores: PairScores, index: int
) -> list[dict[str, Any]]:
    """One row for all pairs, and one for every phenomenon and language where there are several."""
    groups = {"all": np.ones(len(pairs), dtype=bool)}
    for key in ("phenomenon", "language"):
        values = np.array([getattr(pair, key) for pair in pairs.pairs])
        known = sorted(set(values.tolist()))
        groups |= {each: values == each for each in known if len(known) > 1}
    snapshot, groupings = inputs.series[index], group_pairs(pairs)
    rows = []
    for group, member in groups.items():
        clusters, n_clusters = renumber(pairs.cluster[member])
        weights = draw_weights(n_clusters, config.draws, config.seed)
        gain, blind = scores.gain[member], scores.blind[member]
        row: dict[str, Any] = {"behaviour": name, "group": group, "snapshot": snapshot.label, "step": snapshot.step}
        answered = (gain > 0) + 0.5 * (gain == 0)
        right = sum_clusters(answered, clusters, n_clusters)
        margin = sum_clusters(gain, clusters, n_clusters)
        low, high = percentile_interval(right.bootstrap(weights))
        row |= {
            "n": len(gain),
            "n_clusters": n_clusters,
            "accuracy": float(right.mean),
            "accuracy_low": float(low),
            "accuracy_high": float(high),
            "blind": None if np.isnan(blind).any() else float(blind.mean()),
            "above_chance": is_above_chance(
                answered,
                blind,
                [each[member] for each in groupings],
                draws=config.draws,
                seed=config.seed,
                min_clusters=config.min_clusters,
            ),
            "difference": float(margin.mean),
            "difference_se": float(margin.se) if n_clusters > 1 else None,
        }
        rows.append(row | _sentences(scores.sentence[member], pairs.cluster[member], config))
    return rows


def _sentences(sentence: Float[np.ndarray, "pair"], clusters: np.ndarray, config: BehavioursConfig) -> dict[str, Any]:
    scored = ~np.isnan(sentence)
    row: dict[str, Any] = dict.fromkeys(("sentence_accuracy", "sentence_low", "sentence_high"))
    if scored.any():
        places, n_clusters = renumber(clusters[scored])
        right = sum_clusters((sentence[scored] >= 0).astype(np.float64), places, n_clusters)
        low, high = percentile_interval(right.bootstrap(draw_weights(n_clusters, config.draws, config.seed)))
        row = {"sentence_accuracy": float(right.mean), "sentence_low": float(low), "sentence_high": float(high)}
    return {"n_sentences": int(scored.sum()), **row}


def _similar(labels: list[str], name: str, alike: Mapping[str, np.ndarray], n_tokens: int) -> list[dict[str, Any]]:
    return [
        {"behaviour": name, "snapshot": one, "other": other, "n_tokens": n_tokens}
        | {key: None if np.isnan(alike[key][a, b]) else float(alike[key][a, b]) for key in SIMILARITIES}
        for a, one in enumerate(labels)
        for b, other in enumerate(labels)
        if alike
    ]


def _chosen(
    labels: list[str],
    config: BehavioursConfig,
    name: str,
    accuracy: Float[np.ndarray, "snapshot"],
    alike: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    gain = np.abs(accuracy[:, None] - accuracy[None, :])
    if alike:
        gain = gain + config.change_weight * (1 - np.nan_to_num(alike[config.similarity], nan=1.0))
    by_hand = bool(config.manual)
    places = sorted(labels.index(each) for each in config.manual) if by_hand else choose_snapshots(gain, config.choose)
    return [
        {
            "behaviour": name,
            "rank": rank,
            "snapshot": labels[place],
            "how": "manual" if by_hand else "dynamic programming",
            "gain": float(gain[places[rank - 1], place]) if rank else None,
        }
        for rank, place in enumerate(places)
    ]


def _summary(
    behaviours: Mapping[str, PairTokens], curves: list[dict[str, Any]], chosen: list[dict[str, Any]], least: int
) -> dict[str, Any]:
    told, last, above = [], {}, {}
    for name, pairs in behaviours.items():
        rows = [row for row in curves if row["behaviour"] == name and row["group"] == "all"]
        learned = above[name] = next((row["snapshot"] for row in rows if row["above_chance"]), None)
        when = "no snapshot is above chance" if learned is None else f"{learned} is the first above chance"
        if pairs.n_clusters < least:
            when = f"too few independent groups of pairs ({pairs.n_clusters} of {least}) to say what is above chance"
        end, blind = rows[-1]["accuracy"], rows[-1]["blind"]
        last[name] = end
        alone = "" if blind is None else f", {blind:.2f} after other prefixes"
        skipped = sum(pairs.skipped.values())
        told.append(f"{name}: {when}; accuracy {end:.2f} at the end{alone} ({len(pairs)} pairs, {skipped} skipped).")
    return {
        "accuracy": last,
        "above_chance": above,
        "chosen": {name: [row["snapshot"] for row in chosen if row["behaviour"] == name] for name in behaviours},
        "sentences": told,
    }
