"""Unigram and bigram distributions of a text, smoothed: the yardsticks of what a model knows beyond counts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.errors import AnalysisError
from ontogeny.interventions.splice import predicted_positions
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus

PRIORS = 2.0 ** np.arange(-4, 17)
"""Weights of the unigram in a context that are tried."""


@dataclass(frozen=True)
class Ngrams:
    """p(v) = (c_v + a) / (N + a V) and p(v | u) = (c_uv + m p(v)) / (c_u + m), over V tokens, in float64.

    Every bigram row is `backoff[u]` p(v), plus `weight` at the tokens seen after u: `follower[pointer[u]:
    pointer[u + 1]]`, ascending. `n_tokens`: the predictions counted (N). Source: MacKay and Peto 1995.
    """

    unigram: Float[np.ndarray, " token"]
    pointer: Int[np.ndarray, " token_plus_1"]
    follower: Int[np.ndarray, " pair"]
    weight: Float[np.ndarray, " pair"]
    backoff: Float[np.ndarray, " token"]
    prior: float
    n_tokens: int

    @cached_property
    def unigram_entropy(self) -> float:
        """−Σ p(v) log p(v), nats."""
        return float(-(self.unigram * np.log(self.unigram)).sum())

    @cached_property
    def bigram_entropy(self) -> Float[np.ndarray, " token"]:
        """−Σ_v p(v | u) log p(v | u) of every context u, nats.

        Where nothing was seen after u the row is backoff · p(v), whose terms are known from the unigram's own entropy.
        """
        base = self.unigram[self.follower]
        scaled = self.backoff[self._context] * base
        seen = scaled + self.weight
        change = seen * np.log(seen) - scaled * np.log(scaled)
        unseen = self.backoff * (np.log(self.backoff) - self.unigram_entropy)
        entropy: np.ndarray = -(unseen + np.bincount(self._context, change, minlength=len(self.unigram)))
        return entropy

    @cached_property
    def _context(self) -> Int[np.ndarray, " pair"]:
        return np.repeat(np.arange(len(self.unigram)), np.diff(self.pointer))

    @cached_property
    def _keys(self) -> Int[np.ndarray, " pair"]:
        """One ascending number a pair, for looking pairs up."""
        return self._context * len(self.unigram) + self.follower

    def probability(
        self, context: Int[np.ndarray, " place"], token: Int[np.ndarray, " place"]
    ) -> Float[np.ndarray, " place"]:
        """p(token | context)."""
        wanted = context.astype(np.int64) * len(self.unigram) + token
        place = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        seen = np.where(self._keys[place] == wanted, self.weight[place], 0.0)
        return self.backoff[context] * self.unigram[token] + seen


def count_ngrams(
    context: Int[np.ndarray, " place"],
    token: Int[np.ndarray, " place"],
    n_vocabulary: int,
    unigram_prior: float = 0.5,
    bigram_prior: float | None = None,
) -> Ngrams:
    """Estimate from pairs of a token and the one before it; `bigram_prior` None chooses it by leave-one-out."""
    assert len(token) > 0, "no tokens to count"
    counts = np.bincount(token, minlength=n_vocabulary).astype(np.float64)
    unigram = (counts + unigram_prior) / (counts.sum() + unigram_prior * n_vocabulary)
    keys, pairs = np.unique(context.astype(np.int64) * n_vocabulary + token, return_counts=True)
    of_context, follower = keys // n_vocabulary, keys % n_vocabulary
    in_context = np.bincount(of_context, pairs, minlength=n_vocabulary)
    prior = bigram_prior
    if prior is None:
        scores = [_left_out(pairs, in_context[of_context], unigram[follower], each) for each in PRIORS]
        prior = float(PRIORS[int(np.argmax(scores))])
    return Ngrams(
        unigram=unigram,
        pointer=np.searchsorted(of_context, np.arange(n_vocabulary + 1)),
        follower=follower,
        weight=pairs / (in_context[of_context] + prior),
        backoff=prior / (in_context + prior),
        prior=prior,
        n_tokens=len(token),
    )


def _left_out(
    pairs: Int[np.ndarray, " pair"],
    in_context: Float[np.ndarray, " pair"],
    base: Float[np.ndarray, " pair"],
    prior: float,
) -> float:
    """Log-probability of the text when the counts that predict a token are without that token."""
    return float((pairs * np.log((pairs - 1 + prior * base) / (in_context - 1 + prior))).sum())


def count_training(
    corpus: Corpus,
    n_vocabulary: int,
    train_tokens: int | None = None,
    unigram_prior: float = 0.5,
    bigram_prior: float | None = None,
) -> Ngrams:
    """The n-grams of the first training rows, over the predictions that models are judged on too.

    AnalysisError where no training token follows another.
    """
    rows = first_rows(corpus.rows("train"), corpus, train_tokens)
    row, position = counted_positions(corpus, rows, n_vocabulary).nonzero()
    if len(row) == 0:
        raise AnalysisError(
            "n-grams are counted on training rows, and this corpus has no two tokens in a row there: lower "
            "corpus.held_out, or give it more text."
        )
    tokens = np.asarray(corpus.tokens[rows]).astype(np.int64)
    return count_ngrams(tokens[row, position], tokens[row, position + 1], n_vocabulary, unigram_prior, bigram_prior)


def vocabulary_of(series: SnapshotSeries, corpus: Corpus) -> int:
    """Token ids that every snapshot can predict and that may occur; others are left out on both sides."""
    known = min(int(config.vocab_size) for config in series.model_configs)
    return min(known, max(len(series.tokenizer), int(corpus.tokens.max()) + 1))


def counted_positions(
    corpus: Corpus, rows: Int[np.ndarray, " row"], n_vocabulary: int
) -> Bool[np.ndarray, "row position"]:
    """Predicted positions whose token and next token are within the vocabulary."""
    within = np.asarray(corpus.tokens[rows]) < n_vocabulary
    counted: np.ndarray = predicted_positions(corpus, rows)
    counted[:, :-1] &= within[:, :-1] & within[:, 1:]
    return counted


def first_rows(rows: Int[np.ndarray, " row"], corpus: Corpus, tokens: int | None) -> Int[np.ndarray, " kept"]:
    """As many whole rows as hold this many tokens, at least one."""
    return rows if tokens is None else rows[: max(1, tokens // corpus.context_length)]
