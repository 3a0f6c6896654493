"""Divergences against dense float64 sums; a whole analysis on two random models, cut off and resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.test_ngrams import VOCABULARY, dense
from interventions.tiny_series import tiny_corpus, tiny_series
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.ngrams import NGRAMS, NgramsConfig, divergence
from ontogeny.analyses.ngrams.divergence import NgramTables, compute_divergences
from ontogeny.errors import AnalysisError
from ontogeny.evaluation.ngrams import count_ngrams, count_training
from ontogeny.results import Result
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus

QUANTITIES = divergence.QUANTITIES


def test_divergences_are_the_dense_sums() -> None:
    generator = np.random.default_rng(1)
    ngrams = count_ngrams(generator.integers(0, VOCABULARY, 50), generator.integers(0, VOCABULARY, 50), VOCABULARY)
    context, target = generator.integers(0, VOCABULARY, 20), generator.integers(0, VOCABULARY, 20)
    # The model knows two more tokens than the text may hold.
    log_q = torch.randn(20, VOCABULARY + 2, dtype=torch.float64).log_softmax(-1)
    tables = NgramTables.of(ngrams, torch.device("cpu"))
    found = dict(zip(QUANTITIES, compute_divergences(log_q.float(), context, target, ngrams, tables), strict=True))
    q, bigram = log_q.numpy()[:, :VOCABULARY], dense(ngrams)[context]
    np.testing.assert_allclose(found["loss"], -q[np.arange(20), target], rtol=1e-6)
    np.testing.assert_allclose(found["kl_unigram"], (ngrams.unigram * (np.log(ngrams.unigram) - q)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found["kl_bigram"], (bigram * (np.log(bigram) - q)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found["bigram_loss"], -np.log(bigram[np.arange(20), target]))
    np.testing.assert_allclose(found["unigram_loss"], -np.log(ngrams.unigram[target]))
    assert min(found["kl_unigram"].min(), found["kl_bigram"].min()) > 0


def test_a_model_that_is_the_bigram_has_no_divergence() -> None:
    ngrams = count_ngrams(np.array([0, 1, 1, 2]), np.array([1, 2, 3, 0]), VOCABULARY)
    context = np.arange(VOCABULARY)
    log_q = torch.from_numpy(np.log(dense(ngrams))).float()
    values = compute_divergences(log_q, context, context, ngrams, NgramTables.of(ngrams, torch.device("cpu")))
    found = dict(zip(QUANTITIES, values, strict=True))
    np.testing.assert_allclose(found["kl_bigram"], 0, atol=1e-6)
    np.testing.assert_allclose(found["loss"], found["bigram_loss"], atol=1e-6)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("series"))


def split_corpus() -> Corpus:
    corpus = tiny_corpus(12)
    corpus.held_out[:6] = False
    return corpus


class _Series(SnapshotSeries):
    """A series that counts how often models are opened, and is cut off where told to."""

    tokenizer = range(40)

    def __init__(self, series: SnapshotSeries, cut_at: int | None = None) -> None:
        super().__init__(series.snapshots, series.config)
        self.cut_at, self.opened = cut_at, 0

    def open(self, index: int, device: str = "cpu", dtype: str = "float32") -> HookedModel:
        if index == self.cut_at:
            raise KeyboardInterrupt
        self.opened += 1
        return super().open(index, device, dtype)


def analyze(series: Any, corpus: Corpus, scratch: Path, **config: Any) -> Result:
    nothing: Any = None
    inputs = AnalysisInputs(nothing, corpus, nothing, series, None, scratch, "cpu")
    return NGRAMS.run(inputs, NgramsConfig(**config))


def test_a_row_a_snapshot_and_the_bounds(series: SnapshotSeries, tmp_path: Path) -> None:
    result = analyze(_Series(series), split_corpus(), tmp_path)
    rows = result.table("ngrams").rows()
    assert [(row["snapshot"], row["step"]) for row in rows] == [("step0", 0), ("step8", 8)]
    for row in rows:
        assert row["n_tokens"] > 0 and row["loss_se"] > 0 and row["kl_bigram_se"] > 0
        assert row["below_bigram"] == pytest.approx(row["bigram_bound"] - row["loss"])
    assert [row["ngram"] for row in result.table("bounds").rows()] == ["unigram", "bigram"]
    assert len(result.summary["sentences"]) == 4


def test_blocks_of_rows_and_of_logits_change_nothing(
    series: SnapshotSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = analyze(_Series(series), split_corpus(), tmp_path / "a", model_batch=8).table("ngrams").rows()
    monkeypatch.setattr(divergence, "CHUNK_LOGITS", 120)
    parts = analyze(_Series(series), split_corpus(), tmp_path / "b", model_batch=1).table("ngrams").rows()
    for one, other in zip(whole, parts, strict=True):
        assert one["kl_bigram"] == pytest.approx(other["kl_bigram"], rel=1e-5)
        assert one["loss_se"] == pytest.approx(other["loss_se"], rel=1e-4)


def test_what_was_compared_before_a_cut_is_not_compared_again(series: SnapshotSeries, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        analyze(_Series(series, cut_at=1), split_corpus(), tmp_path)
    resumed = _Series(series)
    result = analyze(resumed, split_corpus(), tmp_path)
    assert resumed.opened == 1
    fresh = analyze(_Series(series), split_corpus(), tmp_path / "fresh")
    assert result.table("ngrams").rows() == fresh.table("ngrams").rows()


def test_other_n_grams_are_compared_anew(series: SnapshotSeries, tmp_path: Path) -> None:
    analyze(_Series(series), split_corpus(), tmp_path)
    again = _Series(series)
    analyze(again, split_corpus(), tmp_path, bigram_prior=3.0)
    assert again.opened == 2


def test_text_on_one_side_only_is_refused(series: SnapshotSeries, tmp_path: Path) -> None:
    corpus = split_corpus()
    corpus.held_out[:] = True
    with pytest.raises(AnalysisError, match="training rows"):
        analyze(_Series(series), corpus, tmp_path)
    corpus.held_out[:] = False
    with pytest.raises(AnalysisError, match="held-out text"):
        analyze(_Series(series), corpus, tmp_path)


def test_training_rows_and_vocabulary_are_bounded() -> None:
    corpus = split_corpus()
    whole = count_training(corpus, 40)
    part = count_training(corpus, 40, train_tokens=24)
    assert 0 < part.n_tokens < whole.n_tokens
    small = count_training(corpus, 20)
    assert small.follower.max() < 20 and len(small.unigram) == 20
