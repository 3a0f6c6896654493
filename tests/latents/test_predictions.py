"""What snapshots predict where latents fire: sums in float64 by hand, real models, resuming, the bigram."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.tiny_run import tiny_inputs
from ontogeny.analyses import AnalysisInputs
from ontogeny.errors import NonFiniteError
from ontogeny.evaluation.ngrams import count_training
from ontogeny.latents import predictions
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import Documents
from ontogeny.latents.predictions import (
    Predictions,
    compute_predictions,
    look_up_bigram,
    measure_next_probabilities,
    predict_block,
)

N_TOKENS = 40


def planted(codes: np.ndarray) -> tuple[LatentBlock, Documents]:
    """A block of these codes [token latent]; documents of four tokens."""
    latents, tokens = np.nonzero(codes.T)
    pointer = np.searchsorted(latents, np.arange(codes.shape[1] + 1))
    block = LatentBlock(0, pointer, tokens, codes[tokens, latents], np.ones((codes.shape[1], 2), np.float32))
    of = (np.arange(len(codes)) // 4).astype(np.int32)
    return block, Documents(of, np.bincount(of))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_gain_error_and_kept_are_the_formulas(seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = (generator.random((N_TOKENS, 3)) * (generator.random((N_TOKENS, 3)) < 0.5)).astype(np.float32)
    given_by = [generator.random(N_TOKENS) for _ in range(2)]
    bigram = generator.random(N_TOKENS)
    unknown = generator.random(N_TOKENS) < 0.2
    for each in (*given_by, bigram):
        each[unknown] = np.nan
    block, documents = planted(codes)
    found = predict_block(block, documents, given_by, bigram, [1, 1])
    for latent in range(3):
        f = np.where(unknown, 0, codes[:, latent]).astype(np.float64)
        if f.sum() == 0:
            assert np.isnan(found.gain[latent]).all()
            continue
        for source in range(2):
            p, end = np.nan_to_num(given_by[source]), np.nan_to_num(given_by[1])
            gain = (f * (p - np.nan_to_num(bigram))).sum() / f.sum()
            assert found.gain[latent, source] == pytest.approx(gain)
            assert found.kept[latent, source] == pytest.approx((f * np.minimum(p, end)).sum() / (f * p).sum())
            rest = np.bincount(documents.of, f * (p - np.nan_to_num(bigram) - gain))
            n = len(np.unique(documents.of[f > 0]))
            if n > 1:
                se = np.sqrt(n / (n - 1) * np.square(rest).sum()) / f.sum()
                assert found.se[latent, source] == pytest.approx(se)
            else:
                assert np.isnan(found.se[latent, source])


def test_what_is_relearned_otherwise_is_not_kept() -> None:
    """Half of the tokens are known before, the other half after: the gain stays, what is kept does not."""
    half = np.arange(N_TOKENS) % 2 == 0
    block, documents = planted(np.ones((N_TOKENS, 1), np.float32))
    before, after = np.where(half, 1.0, 0.0), np.where(half, 0.0, 1.0)
    found = predict_block(block, documents, [before, after], np.full(N_TOKENS, 0.1), [1, 1])
    np.testing.assert_allclose(found.gain, [[0.4, 0.4]])
    np.testing.assert_allclose(found.kept, [[0.0, 1.0]])
    steady = predict_block(block, documents, [before, before], np.full(N_TOKENS, 0.1), [1, 1])
    np.testing.assert_allclose(steady.kept, 1.0)


def test_what_is_not_sure_is_no_strength() -> None:
    gain, se = np.array([[0.5, 0.1, 0.3, -0.2]]), np.array([[0.1, 0.1, np.nan, 0.01]])
    found = Predictions(gain, se, gain)
    np.testing.assert_array_equal(found.certain(2.0), [[0.5, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(found.certain(0.0), [[0.5, 0.1, 0.0, 0.0]])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> AnalysisInputs:
    return tiny_inputs(tmp_path_factory.mktemp("predictions"))


def measured(inputs: AnalysisInputs) -> dict[str, np.ndarray]:
    assert inputs.codes is not None
    labels = [source.snapshot.label for source in inputs.sources]
    return measure_next_probabilities(inputs.series, labels, inputs.corpus, inputs.codes.columns, inputs.scratch)


def test_the_probabilities_are_the_models_own(inputs: AnalysisInputs) -> None:
    assert inputs.codes is not None
    found, columns, corpus = measured(inputs), inputs.codes.columns, inputs.corpus
    assert list(found) == ["step0", "step8"]
    for index, label in enumerate(found):
        model = inputs.series.open(index)
        for token in (0, 7, 31, len(columns.row) - 1):
            row, place = int(columns.row[token]), int(columns.position[token])
            ends = place + 1 == corpus.context_length or corpus.document[row, place + 1] != corpus.document[row, place]
            if ends:
                assert np.isnan(found[label][token])
                continue
            with torch.no_grad():
                tokens = torch.from_numpy(np.array(corpus.tokens[row, : place + 1])).long()[None]
                p = model.forward(tokens).logits[0, -1].double().softmax(-1)[int(corpus.tokens[row, place + 1])]
            assert found[label][token] == pytest.approx(float(p), rel=1e-4)


def test_kept_files_spare_the_models(inputs: AnalysisInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured(inputs)
    monkeypatch.setattr(predictions, "run_clean", None)
    second = measured(inputs)
    for label in first:
        np.testing.assert_array_equal(first[label], second[label])


def test_all_blocks_make_one_table(inputs: AnalysisInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs.codes is not None
    found = measured(inputs)
    given_by = [found["step0"], found["step8"]]
    bigram = np.where(np.isnan(given_by[0]), np.nan, 0.1)
    whole = compute_predictions(inputs.codes, given_by, bigram, [1, 1])
    monkeypatch.setattr(predictions, "BLOCK_PAIRS", 40)
    parts = compute_predictions(inputs.codes, given_by, bigram, [1, 1])
    np.testing.assert_allclose(parts.gain, whole.gain)
    assert np.isnan(whole.gain[0]).all() and whole.gain.shape == (30, 2)


def test_a_snapshot_that_is_not_finite_is_named(
    inputs: AnalysisInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert inputs.codes is not None

    def broken(*_: Any) -> tuple[torch.Tensor, None]:
        return torch.full((1,), torch.nan), None

    monkeypatch.setattr(predictions, "compute_token_losses", broken)
    with pytest.raises(NonFiniteError, match="step0"):
        measure_next_probabilities(inputs.series, ["step0"], inputs.corpus, inputs.codes.columns, tmp_path)


def test_the_bigram_is_looked_up_where_something_follows(inputs: AnalysisInputs) -> None:
    assert inputs.codes is not None
    corpus, columns = inputs.corpus, inputs.codes.columns
    corpus.held_out[:4] = False
    ngrams = count_training(corpus, 40)
    corpus.held_out[:4] = True
    found, models = look_up_bigram(corpus, columns, ngrams), measured(inputs)["step0"]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(models))
    token = int(np.flatnonzero(~np.isnan(found))[5])
    row, place = int(columns.row[token]), int(columns.position[token])
    pair = (np.asarray(corpus.tokens[row, place + each : place + each + 1]).astype(np.int64) for each in (0, 1))
    assert found[token] == pytest.approx(ngrams.probability(*pair)[0])
