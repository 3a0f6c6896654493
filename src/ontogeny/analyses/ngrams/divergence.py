"""What a snapshot predicts, against n-grams: losses and divergences, summed by document."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save
from torch import Tensor

from ontogeny.analyses.ngrams.config import NgramsConfig
from ontogeny.errors import AnalysisError
from ontogeny.evaluation.metrics import MAX_CLUSTERS, Estimate, cluster_of, compute_ratio
from ontogeny.evaluation.ngrams import Ngrams, counted_positions, first_rows
from ontogeny.interventions.clean import read_rows
from ontogeny.interventions.splice import predicted_positions
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus
from ontogeny.workspace import write_bytes

QUANTITIES = ("loss", "kl_unigram", "kl_bigram", "unigram_loss", "bigram_loss", "bigram_entropy")
CHUNK_LOGITS = 1 << 24
"""Logits turned into log-probabilities at a time (64 MiB)."""


@dataclass(frozen=True)
class Comparison:
    """Sums over held-out predictions by cluster of documents, float64 [quantity cluster]; `n` [cluster] counts them."""

    n: Float[np.ndarray, " cluster"]
    sums: Float[np.ndarray, "quantity cluster"]

    def mean(self, quantity: str, less: str | None = None) -> Estimate:
        """The mean of a quantity (less another one, of the same tokens), with its standard error over documents."""
        total = self.sums[QUANTITIES.index(quantity)]
        return compute_ratio(total if less is None else total - self.sums[QUANTITIES.index(less)], self.n)


def compare_series(
    series: SnapshotSeries, corpus: Corpus, ngrams: Ngrams, config: NgramsConfig, scratch: Path, device: str
) -> list[Comparison]:
    """One comparison a snapshot, models opened one at a time; each is kept in `scratch` until the result is whole."""
    rows = first_rows(corpus.rows("held_out"), corpus, config.max_tokens)
    if not predicted_positions(corpus, rows).any():
        raise AnalysisError(
            "models are compared with n-grams on held-out text, and this corpus has no two held-out tokens in a row: "
            "raise corpus.held_out."
        )
    key = _fingerprint(corpus, rows, ngrams)
    comparisons = []
    for index, label in enumerate(series.labels):
        file = scratch / f"{index:04d}.{key}.safetensors"
        if not file.is_file():
            model = series.open(index, device=device, dtype=config.compute_dtype)
            found = compare_model(model, label, corpus, rows, ngrams, config.model_batch)
            del model
            write_bytes(file, save({"n": found.n, "sums": found.sums}))
        comparisons.append(Comparison(**load_file(file)))
    return comparisons


@torch.no_grad()
def compare_model(
    model: HookedModel, label: str, corpus: Corpus, rows: Int[np.ndarray, " row"], ngrams: Ngrams, model_batch: int = 8
) -> Comparison:
    """Losses and divergences of one snapshot over the held-out rows."""
    tables = NgramTables.of(ngrams, model.device)
    found = Comparison(np.zeros(MAX_CLUSTERS), np.zeros((len(QUANTITIES), MAX_CLUSTERS)))
    for start in range(0, len(rows), model_batch):
        chosen = rows[start : start + model_batch]
        counted = counted_positions(corpus, chosen, len(ngrams.unigram))
        logits = model.forward(*read_rows(corpus, chosen, label, model.device)).logits
        row, position = counted.nonzero()
        cluster = cluster_of(np.asarray(corpus.document[chosen[row], position]), chosen[row])
        for part in _chunks(len(row), logits.shape[-1]):
            at, place = row[part], position[part]
            context = np.asarray(corpus.tokens[chosen[at], place]).astype(np.int64)
            target = np.asarray(corpus.tokens[chosen[at], place + 1]).astype(np.int64)
            log_q = logits[torch.from_numpy(at), torch.from_numpy(place)].float().log_softmax(dim=-1)
            values = compute_divergences(log_q, context, target, ngrams, tables)
            found.n[:] += np.bincount(cluster[part], minlength=MAX_CLUSTERS)
            for quantity, value in enumerate(values):
                found.sums[quantity] += np.bincount(cluster[part], value, minlength=MAX_CLUSTERS)
    return found


@dataclass(frozen=True)
class NgramTables:
    """The n-grams where the model is."""

    unigram: Tensor
    pointer: Tensor
    follower: Tensor
    weight: Tensor
    backoff: Tensor

    @classmethod
    def of(cls, ngrams: Ngrams, device: torch.device) -> "NgramTables":
        """float32 for what meets log-probabilities, int64 for places."""
        numbers = [
            torch.from_numpy(each).float().to(device) for each in (ngrams.unigram, ngrams.weight, ngrams.backoff)
        ]
        places = [torch.from_numpy(each).long().to(device) for each in (ngrams.pointer, ngrams.follower)]
        return cls(numbers[0], places[0], places[1], numbers[1], numbers[2])


def compute_divergences(
    log_q: Float[Tensor, "place vocabulary"],
    context: Int[np.ndarray, " place"],
    target: Int[np.ndarray, " place"],
    ngrams: Ngrams,
    tables: NgramTables,
) -> list[Float[np.ndarray, " place"]]:
    """The `QUANTITIES` at every place, nats.

    KL(p || q) = −H(p) − Σ_v p(v) log q(v); for the bigram the sum is backoff Σ p(v) log q(v) + Σ weight log q over the
    tokens seen after the context, so that no row of the bigram table is ever dense.
    """
    at = torch.from_numpy(context).to(log_q.device)
    expected = log_q[:, : len(tables.unigram)] @ tables.unigram
    seen = _sum_seen(log_q, at, tables)
    loss = -log_q.gather(1, torch.from_numpy(target).to(log_q.device)[:, None])[:, 0]
    unigram = -ngrams.unigram_entropy - expected.double().cpu().numpy()
    bigram_sum = (tables.backoff[at] * expected + seen).double().cpu().numpy()
    return [
        loss.double().cpu().numpy(),
        unigram,
        -ngrams.bigram_entropy[context] - bigram_sum,
        -np.log(ngrams.unigram[target]),
        -np.log(ngrams.probability(context, target)),
        ngrams.bigram_entropy[context],
    ]


def _sum_seen(
    log_q: Float[Tensor, "place vocabulary"], context: Int[Tensor, " place"], tables: NgramTables
) -> Float[Tensor, " place"]:
    """Σ weight · log q over the tokens seen after each place's context."""
    start = tables.pointer[context]
    length = tables.pointer[context + 1] - start
    place = torch.repeat_interleave(torch.arange(len(context), device=log_q.device), length)
    first = torch.repeat_interleave(start - (length.cumsum(0) - length), length)
    pair = first + torch.arange(len(place), device=log_q.device)
    terms = tables.weight[pair] * log_q[place, tables.follower[pair]]
    return torch.zeros_like(log_q[:, 0]).index_add_(0, place, terms)


def _chunks(n_places: int, n_vocabulary: int) -> Iterator[slice]:
    step = max(1, CHUNK_LOGITS // n_vocabulary)
    for start in range(0, n_places, step):
        yield slice(start, start + step)


def _fingerprint(corpus: Corpus, rows: Int[np.ndarray, " row"], ngrams: Ngrams) -> str:
    """A hash of all that the sums depend on but the models, which the result's id covers."""
    digest = hashlib.sha256(corpus.fingerprint.encode())
    for array in (rows, ngrams.unigram, ngrams.follower, ngrams.weight):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
