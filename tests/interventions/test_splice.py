"""The splice against a perfect reconstruction, against hooks set by hand, and across an interruption."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from interventions.tiny_series import D_MODEL, HOOK_POINT, VOCABULARY, TinyReader, tiny_corpus, tiny_series
from ontogeny.dictionaries.config import CrosscoderConfig, ReLUConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.splice import (
    SpliceLosses,
    compute_splice,
    compute_token_losses,
    predicted_positions,
)
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus

NAMES = ("step0", "step8")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("family"))


def crosscoder(perfect: bool = False) -> Crosscoder:
    """A random dictionary, or one whose skip connection reconstructs everything."""
    torch.manual_seed(3)
    made = Crosscoder(CrosscoderConfig(n_latents=24, activation=ReLUConfig(), skip=perfect), NAMES, d_model=D_MODEL)
    if perfect:
        made.W_skip.data.copy_(torch.eye(len(NAMES) * D_MODEL))  # type: ignore[union-attr]
        made.W_dec.data.zero_()
    return made.eval()


def splice(series: SnapshotSeries, made: Crosscoder, scratch: Path, means: Tensor | None = None) -> list[SpliceLosses]:
    corpus = tiny_corpus()
    means = torch.zeros(2, D_MODEL) if means is None else means
    reader = TinyReader(series, corpus)
    return compute_splice(series, made, reader, corpus, corpus.rows("all"), means, scratch, model_batch=4)


def test_a_perfect_reconstruction_costs_nothing(series: SnapshotSeries, tmp_path: Path) -> None:
    for losses in splice(series, crosscoder(perfect=True), tmp_path):
        np.testing.assert_allclose(losses.ce_spliced, losses.ce_clean, atol=1e-5)
        np.testing.assert_allclose(losses.kl, 0.0, atol=1e-5)
        assert np.abs(losses.ce_zero - losses.ce_clean).max() > 0.1


def test_losses_are_those_of_hooks_set_by_hand(series: SnapshotSeries, tmp_path: Path) -> None:
    corpus = tiny_corpus()
    reader = TinyReader(series, corpus)
    made, means = crosscoder(), torch.randn(2, D_MODEL)
    found = splice(series, made, tmp_path, means)
    keep = torch.from_numpy(corpus.keep)
    with torch.no_grad():
        recon = torch.zeros_like(reader.x)
        recon[keep] = made(reader.x[keep])
    for index, losses in enumerate(found):
        model = series.open(index).module
        for name, value in (
            ("ce_spliced", recon[:, :, index]),
            ("ce_zero", torch.zeros(D_MODEL)),
            ("ce_mean", means[index]),
        ):
            expected = by_hand(model, corpus, lambda x, v=value: torch.where(keep[..., None], v, x))  # type: ignore[misc]
            np.testing.assert_allclose(getattr(losses, name), expected, atol=1e-5)
        np.testing.assert_allclose(losses.ce_clean, by_hand(model, corpus, lambda x: x), atol=1e-5)


def test_what_a_snapshot_cannot_say_is_not_asked_of_it(series: SnapshotSeries, tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.tokens[0, 5] = VOCABULARY + 3  # a template token of the chat model alone
    read = dataclasses.replace(corpus, replacements={name: {VOCABULARY + 3: 1} for name in NAMES})
    rows, reader = corpus.rows("all"), TinyReader(series, tiny_corpus())
    found = compute_splice(series, crosscoder(), reader, read, rows, torch.zeros(2, D_MODEL), tmp_path, model_batch=4)
    asked = predicted_positions(corpus, rows)
    asked[0, 4] = False
    for losses in found:
        assert np.array_equal(np.stack([losses.row, losses.position]), np.stack(asked.nonzero()))
        assert np.isfinite(losses.kl).all()


def test_a_snapshot_reads_its_own_words_and_is_asked_for_the_texts(series: SnapshotSeries, tmp_path: Path) -> None:
    corpus = tiny_corpus()
    old, new = (int(token) for token in np.unique(corpus.tokens[corpus.keep])[:2])
    swapped = dataclasses.replace(corpus, replacements={NAMES[0]: {old: new}})
    rows, means = corpus.rows("all"), torch.zeros(2, D_MODEL)
    reader = TinyReader(series, corpus)
    arguments = (rows, means, tmp_path)
    plain = compute_splice(series, crosscoder(), reader, corpus, *arguments, model_batch=4)
    found = compute_splice(series, crosscoder(), reader, swapped, *arguments, model_batch=4)
    np.testing.assert_array_equal(found[1].ce_clean, plain[1].ce_clean)
    assert np.abs(found[0].ce_clean - plain[0].ce_clean).max() > 1e-3
    read = np.where(corpus.tokens == old, new, corpus.tokens)
    with torch.no_grad():
        logits = series.open(0).forward(torch.from_numpy(read).long(), torch.from_numpy(corpus.document >= 0).long())
    counted = predicted_positions(corpus, rows)
    targets = torch.from_numpy(np.array(corpus.tokens)).long()
    expected, _ = compute_token_losses(logits.logits, targets, torch.from_numpy(counted))
    np.testing.assert_allclose(found[0].ce_clean, expected.numpy(), atol=1e-5)


def by_hand(model: torch.nn.Module, corpus: Corpus, change: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Cross-entropies at kept positions whose next token is real, with block 0's output changed."""
    tokens = torch.from_numpy(np.array(corpus.tokens)).long()
    real = torch.from_numpy(corpus.document >= 0)

    def hook(_: object, __: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = model.gpt_neox.layers[HOOK_POINT.layer].register_forward_hook(hook)  # type: ignore[index, union-attr, operator]
    with torch.no_grad():
        logits = model(tokens, attention_mask=real.long()).logits
    handle.remove()
    losses = functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    counted = torch.from_numpy(corpus.keep)[:, :-1] & real[:, 1:]
    return losses[counted].numpy()


def test_finished_sources_are_not_computed_again(
    series: SnapshotSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = splice(series, crosscoder(), tmp_path / "whole")
    opened: list[int] = []
    original = series.open

    def failing(index: int, device: str = "cpu", dtype: str = "float32") -> object:
        opened.append(index)
        if opened == [0, 1]:
            raise KeyboardInterrupt
        return original(index, device, dtype)

    # The reader opens models too: it is made before they fail.
    corpus = tiny_corpus()
    reader = TinyReader(series, corpus)
    monkeypatch.setattr(series, "open", failing)

    def run() -> list[SpliceLosses]:
        rows, means = corpus.rows("all"), torch.zeros(2, D_MODEL)
        return compute_splice(series, crosscoder(), reader, corpus, rows, means, tmp_path / "cut", model_batch=4)

    with pytest.raises(KeyboardInterrupt):
        run()
    again = run()
    assert opened == [0, 1, 1]
    for one, other in zip(whole, again):
        for name in ("row", "position", "ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_partial_results_of_other_weights_are_dropped(series: SnapshotSeries, tmp_path: Path) -> None:
    first = splice(series, crosscoder(), tmp_path)
    changed = crosscoder()
    changed.W_dec.data.mul_(0.5)
    second = splice(series, changed, tmp_path)
    assert np.abs(first[0].ce_spliced - second[0].ce_spliced).max() > 1e-4
    assert len(list(tmp_path.iterdir())) == 2


def test_predictions_stay_inside_a_document_and_start_at_kept_positions() -> None:
    corpus = tiny_corpus(3)
    corpus.document[0] = [0, 0, 0, 0, 7, 7, 7, 7, 8, 8, 8, 8]
    corpus.keep[0, 5] = False
    predicted = predicted_positions(corpus, np.array([0, 2]))
    assert predicted[0].nonzero()[0].tolist() == [1, 2, 4, 6, 8, 9, 10]
    assert predicted[1].nonzero()[0].tolist() == [1, 2, 3]


def test_losses_agree_with_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ontogeny.interventions.splice.CHUNK_LOGITS", 100)
    clean, changed = torch.randn(2, 3, 5, 40).unbind(0)
    tokens = torch.randint(0, 40, (3, 5))
    predicted = torch.rand(3, 5) < 0.7
    predicted[:, -1] = False
    ce, kl = compute_token_losses(changed, tokens, predicted, clean)
    log_p, log_q = clean.double().log_softmax(-1), changed.double().log_softmax(-1)
    row, position = predicted.nonzero().unbind(1)
    torch.testing.assert_close(ce.double(), -log_q[row, position, tokens[row, position + 1]], rtol=1e-5, atol=1e-6)
    expected = (log_p.exp() * (log_p - log_q)).sum(-1)[row, position]
    assert kl is not None
    torch.testing.assert_close(kl.double(), expected, rtol=1e-5, atol=1e-6)
