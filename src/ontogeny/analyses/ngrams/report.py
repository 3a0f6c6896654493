"""The n-gram analysis put together: one row a snapshot, the bounds, and when each stage ends."""

from typing import Any

import numpy as np
import pyarrow as pa

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.ngrams.config import NgramsConfig
from ontogeny.analyses.ngrams.divergence import Comparison, compare_series
from ontogeny.evaluation.ngrams import Ngrams, count_training, vocabulary_of
from ontogeny.results import Column, Result, Table, View
from ontogeny.snapshots.series import SnapshotSeries

NGRAMS = (
    Column("snapshot", "1", "label of the snapshot"),
    Column("step", "optimizer steps", "its training step, null where unknown"),
    Column("tokens", "tokens", "tokens that it was trained on, null where unknown"),
    Column("n_tokens", "tokens", "held-out predictions that the means are over"),
    Column("loss", "nats", "the model's cross-entropy"),
    Column("loss_se", "nats", "standard error of loss over documents"),
    Column("kl_unigram", "nats", "mean KL(unigram || model)"),
    Column("kl_unigram_se", "nats", "standard error of kl_unigram over documents"),
    Column("kl_bigram", "nats", "mean KL(bigram || model)"),
    Column("kl_bigram_se", "nats", "standard error of kl_bigram over documents"),
    Column("unigram_bound", "nats", "cross-entropy of the unigram on the same predictions"),
    Column("bigram_bound", "nats", "cross-entropy of the bigram on the same predictions"),
    Column("below_unigram", "nats", "unigram_bound - loss: what the model knows beyond single tokens"),
    Column("below_unigram_se", "nats", "standard error of below_unigram over documents, predictions paired"),
    Column("below_bigram", "nats", "bigram_bound - loss: what the model knows beyond pairs of tokens"),
    Column("below_bigram_se", "nats", "standard error of below_bigram over documents, predictions paired"),
)
BOUNDS = (
    Column("ngram", "1", "unigram or bigram"),
    Column("entropy", "nats", "entropy of the estimated distribution, contexts weighted as in the held-out text"),
    Column("bound", "nats", "its cross-entropy on the held-out predictions"),
    Column("bound_se", "nats", "standard error of bound over documents"),
    Column("n_train", "tokens", "predictions of the training text that it was counted on"),
    Column("n_kinds", "1", "different tokens or pairs of tokens among them"),
    Column("prior", "tokens", "weight of its prior: added to every token, or of the unigram in a context"),
)
_TEXT, _COUNTS = ("snapshot", "ngram"), ("step", "tokens", "n_tokens", "n_train", "n_kinds")


def make_result(inputs: AnalysisInputs, config: NgramsConfig) -> Result:
    """Count n-grams on the training rows, compare every snapshot with them on the held-out rows."""
    series, corpus = inputs.series, inputs.corpus
    priors = (config.unigram_prior, config.bigram_prior)
    ngrams = count_training(corpus, vocabulary_of(series, corpus), config.train_tokens, *priors)
    comparisons = compare_series(series, corpus, ngrams, config, inputs.scratch, inputs.device)
    rows = [_row(series, index, each) for index, each in enumerate(comparisons)]
    x = "step" if all(step is not None for step in series.steps) else "snapshot"
    views = (
        View("line", "ngrams", "Distance from n-grams", x=x, y=("kl_unigram", "kl_bigram")),
        View("line", "ngrams", "Loss and the n-grams' own", x=x, y=("loss", "unigram_bound", "bigram_bound")),
        View("line", "ngrams", "What is known beyond n-grams", x=x, y=("below_unigram", "below_bigram")),
        View("table", "bounds", "The n-grams"),
    )
    tables = (
        Table.from_rows("ngrams", NGRAMS, rows, _schema(NGRAMS)),
        Table.from_rows("bounds", BOUNDS, _bounds(ngrams, comparisons[0], config), _schema(BOUNDS)),
    )
    return Result("ngrams", tables, views, _summary(rows, ngrams))


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    kinds = {**dict.fromkeys(_TEXT, pa.string()), **dict.fromkeys(_COUNTS, pa.int64())}
    return pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in columns])


def _row(series: SnapshotSeries, index: int, comparison: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {
        "snapshot": series[index].label,
        "step": series[index].step,
        "tokens": series[index].tokens,
        "n_tokens": int(comparison.n.sum()),
    }
    for name in ("loss", "kl_unigram", "kl_bigram"):
        estimate = comparison.mean(name)
        row |= {name: estimate.value, f"{name}_se": estimate.se}
    for name in ("unigram", "bigram"):
        gain = comparison.mean(f"{name}_loss", less="loss")
        row |= {f"{name}_bound": comparison.mean(f"{name}_loss").value}
        row |= {f"below_{name}": gain.value, f"below_{name}_se": gain.se}
    return row


def _bounds(ngrams: Ngrams, comparison: Comparison, config: NgramsConfig) -> list[dict[str, Any]]:
    counted = {"n_train": ngrams.n_tokens}
    unigram, bigram = comparison.mean("unigram_loss"), comparison.mean("bigram_loss")
    lengths = np.diff(ngrams.pointer)
    entropy = comparison.mean("bigram_entropy")
    return [
        {
            "ngram": "unigram",
            "entropy": ngrams.unigram_entropy,
            "bound": unigram.value,
            "bound_se": unigram.se,
            **counted,
            "n_kinds": len(np.unique(ngrams.follower)),
            "prior": config.unigram_prior,
        },
        {
            "ngram": "bigram",
            "entropy": entropy.value,
            "bound": bigram.value,
            "bound_se": bigram.se,
            **counted,
            "n_kinds": int(lengths.sum()),
            "prior": ngrams.prior,
        },
    ]


def _summary(rows: list[dict[str, Any]], ngrams: Ngrams) -> dict[str, Any]:
    """When a snapshot is nearest to each n-gram, and when it first knows more, beyond two standard errors."""
    nearest = {name: min(rows, key=lambda row: row[f"kl_{name}"])["snapshot"] for name in ("unigram", "bigram")}
    beyond = {name: _first_beyond(rows, name) for name in ("unigram", "bigram")}
    told = [
        f"Predictions are nearest to the unigram at {nearest['unigram']} and to the bigram at {nearest['bigram']}, by "
        "mean KL from the n-gram to the model."
    ]
    for name in ("unigram", "bigram"):
        first = "no snapshot is below that" if beyond[name] is None else f"{beyond[name]} is the first below that"
        told.append(f"The {name} predicts the held-out text at {rows[0][f'{name}_bound']:.3f} nats; {first}.")
    told.append(f"The n-grams were counted on {ngrams.n_tokens:,} predictions; more text lowers the bigram's bound.")
    return {
        "n_tokens": rows[0]["n_tokens"],
        "n_train": ngrams.n_tokens,
        "nearest": nearest,
        "beyond": beyond,
        "loss": {row["snapshot"]: row["loss"] for row in rows},
        "sentences": told,
    }


def _first_beyond(rows: list[dict[str, Any]], name: str) -> str | None:
    """The first snapshot whose loss is below an n-gram's by two standard errors."""
    for row in rows:
        error = row[f"below_{name}_se"]
        if error is not None and row[f"below_{name}"] > 2 * error:
            return str(row["snapshot"])
    return None
