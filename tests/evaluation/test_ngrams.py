"""N-grams against brute force over a small vocabulary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.evaluation.ngrams import PRIORS, Ngrams, count_ngrams

VOCABULARY = 7


def dense(ngrams: Ngrams) -> np.ndarray:
    """The whole bigram table [context token]."""
    table = ngrams.backoff[:, None] * ngrams.unigram[None, :]
    for context in range(len(ngrams.unigram)):
        pairs = slice(ngrams.pointer[context], ngrams.pointer[context + 1])
        table[context, ngrams.follower[pairs]] += ngrams.weight[pairs]
    return table


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_tables_are_the_formulas(pairs: list[tuple[int, int]]) -> None:
    context, token = np.array(pairs).T
    ngrams = count_ngrams(context, token, VOCABULARY, unigram_prior=0.3, bigram_prior=2.0)
    counts = np.zeros((VOCABULARY, VOCABULARY))
    np.add.at(counts, (context, token), 1)
    unigram = (counts.sum(0) + 0.3) / (len(pairs) + 0.3 * VOCABULARY)
    bigram = (counts + 2.0 * unigram) / (counts.sum(1, keepdims=True) + 2.0)
    np.testing.assert_allclose(ngrams.unigram, unigram)
    np.testing.assert_allclose(dense(ngrams), bigram)
    np.testing.assert_allclose(ngrams.bigram_entropy, -(bigram * np.log(bigram)).sum(1))
    assert ngrams.unigram_entropy == pytest.approx(-(unigram * np.log(unigram)).sum())
    every = np.indices((VOCABULARY, VOCABULARY)).reshape(2, -1)
    np.testing.assert_allclose(ngrams.probability(*every).reshape(VOCABULARY, VOCABULARY), bigram)


def test_the_prior_left_alone_is_the_best_by_leave_one_out() -> None:
    generator = np.random.default_rng(0)
    context = generator.integers(0, VOCABULARY, 60)
    token = np.where(generator.random(60) < 0.6, (context + 1) % VOCABULARY, generator.integers(0, VOCABULARY, 60))
    chosen = count_ngrams(context, token, VOCABULARY)

    def left_out(prior: float) -> float:
        unigram = (np.bincount(token, minlength=VOCABULARY) + 0.5) / (60 + 0.5 * VOCABULARY)
        score = 0.0
        for place in range(60):
            others = np.arange(60) != place
            seen = (context[others] == context[place]) & (token[others] == token[place])
            whole = (context[others] == context[place]).sum()
            score += np.log((seen.sum() + prior * unigram[token[place]]) / (whole + prior))
        return float(score)

    assert chosen.prior == PRIORS[int(np.argmax([left_out(float(prior)) for prior in PRIORS]))]


def test_what_follows_nothing_is_the_unigram() -> None:
    ngrams = count_ngrams(np.array([1, 1]), np.array([2, 3]), VOCABULARY)
    np.testing.assert_allclose(dense(ngrams)[5], ngrams.unigram)
    assert ngrams.bigram_entropy[5] == pytest.approx(ngrams.unigram_entropy)
