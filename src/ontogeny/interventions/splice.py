"""The splice: a source's activations replaced by their reconstruction, by zeros or by their mean; what it costs.

Replaced are the positions that the corpus keeps: the others (a BOS, padding, the first ones where the corpus leaves
them out) keep the model's own activation, in all three replacements alike, since the dictionary never saw them.
Counted are predictions made AT a kept position of a token of the same document. The code is shared: it is read from
all snapshots, so a later snapshot can inform an earlier one, and a splice may even beat the clean model. Losses come
per predicted token, so that any grouping and any standard error can be computed from them later.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.clean import name_text, run_clean
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.interventions.suffix import run_with
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import Source
from ontogeny.workspace import write_bytes

CHUNK_LOGITS = 1 << 25
"""Logits turned into float32 log-probabilities at a time (128 MiB each for clean and changed)."""


@runtime_checkable
class RowReader(Protocol):
    """Activations of all sources at whole corpus rows: the ordered layout of a store."""

    sources: tuple[Source, ...]

    def read(self, rows: Int[np.ndarray, "row"]) -> Float[Tensor, "row position source d_model"]:
        """Raw activations; padding is whatever it is."""


@dataclass(frozen=True)
class SpliceLosses:
    """One source's losses, one entry a predicted token, nats. `row`, `position`: where the prediction is made."""

    row: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]
    ce_clean: Float[np.ndarray, "token"]
    ce_spliced: Float[np.ndarray, "token"]
    ce_zero: Float[np.ndarray, "token"]
    ce_mean: Float[np.ndarray, "token"]
    kl: Float[np.ndarray, "token"]


def compute_splice(
    series: SnapshotSeries,
    crosscoder: Crosscoder,
    reader: RowReader,
    corpus: Corpus,
    rows: Int[np.ndarray, "row"],
    means: Float[Tensor, "source d_model"],
    scratch: Path,
    *,
    model_batch: int = 8,
    device: str = "cpu",
    dtype: str = "float32",
) -> list[SpliceLosses]:
    """Losses of every source that the dictionary writes, in the order of `crosscoder.sources_out`.

    CE of the clean model; with x replaced by recon; by 0; by the source's mean; and KL(clean || spliced), all per
    predicted token. `means` [written source, d_model] are the raw means over the training rows. The rows are encoded
    once from the activations of ALL sources; models are opened one at a time. Each finished source is written to
    `scratch`, from where a later call takes it; partial results of other weights, rows or text are dropped.
    """
    fingerprint = _fingerprint(crosscoder, corpus, rows, means)
    files = [scratch / f"{index:04d}.{fingerprint}.safetensors" for index in range(len(crosscoder.sources_out))]
    for stale in set(scratch.glob("*.safetensors")) - set(files):
        stale.unlink()
    missing = [index for index, file in enumerate(files) if not file.is_file()]
    if missing:
        blocks = [rows[start : start + model_batch] for start in range(0, len(rows), model_batch)]
        # All snapshots are asked the same, so that their losses compare.
        vocabulary = min(config.vocab_size for config in series.model_configs)
        splicer = _Splicer(crosscoder, reader, corpus, blocks, means.to(device), device, vocabulary)
        writes = [reader.sources[i] for i in source_positions(reader.sources, crosscoder.sources_out)]
        for label, indices in _by_snapshot(writes, missing).items():
            model = series.open(series.labels.index(label), device=device, dtype=dtype)
            for index in indices:
                losses = splicer.compute_losses(model, index, writes[index])
                write_bytes(files[index], save(dataclasses.asdict(losses)))
    return [SpliceLosses(**load_file(file)) for file in files]


def predicted_positions(
    corpus: Corpus, rows: Int[np.ndarray, "row"], vocabulary: int | None = None
) -> Bool[np.ndarray, "row position"]:
    """True where the position is kept and the next token is of the same document; the last position never is.

    `vocabulary`: and where the next token's id is below it; a base model cannot predict the tokens of chat alone.
    """
    document = corpus.document[rows]
    predicted = np.zeros(document.shape, dtype=bool)
    predicted[:, :-1] = corpus.keep[rows][:, :-1] & (document[:, :-1] == document[:, 1:]) & (document[:, :-1] >= 0)
    if vocabulary is not None:
        predicted[:, :-1] &= np.asarray(corpus.tokens[rows])[:, 1:] < vocabulary
    return predicted


@torch.no_grad()
def compute_token_losses(
    logits: Float[Tensor, "row position vocab"],
    tokens: Int[Tensor, "row position"],
    predicted: Bool[Tensor, "row position"],
    clean: Float[Tensor, "row position vocab"] | None = None,
) -> tuple[Float[Tensor, "token"], Float[Tensor, "token"] | None]:
    """Cross-entropy of the next token and, given clean logits, KL(clean || these), nats, at the predicted positions.

    log p = log softmax(logits) in float32; ce = -log p[next]; kl = sum_v p_clean (log p_clean - log p). Chunked over
    positions, so that memory stays bounded for any vocabulary.
    """
    places = predicted.nonzero()
    losses, divergences = [], []
    for chunk in places.split(max(1, CHUNK_LOGITS // logits.shape[-1])):
        row, position = chunk.unbind(dim=1)
        log_p = logits[row, position].float().log_softmax(dim=-1)
        losses.append(-log_p.gather(1, tokens[row, position + 1].long()[:, None])[:, 0])
        if clean is not None:
            log_clean = clean[row, position].float().log_softmax(dim=-1)
            divergences.append((log_clean.exp() * (log_clean - log_p)).sum(dim=-1))
    none = logits.new_zeros(0, dtype=torch.float32)
    ce = torch.cat(losses) if losses else none
    if clean is None:
        return ce, None
    return ce, torch.cat(divergences) if divergences else none


class _Splicer:
    """What every source of a splice shares: blocks of rows, their codes, the means of mean ablation."""

    @torch.no_grad()
    def __init__(
        self,
        crosscoder: Crosscoder,
        reader: RowReader,
        corpus: Corpus,
        blocks: list[Int[np.ndarray, "_"]],
        means: Float[Tensor, "source d_model"],
        device: str,
        vocabulary: int,
    ) -> None:
        self.crosscoder, self.reader, self.corpus = crosscoder, reader, corpus
        self.blocks, self.means, self.device, self.vocabulary = blocks, means, device, vocabulary
        self.reads = source_positions(reader.sources, crosscoder.sources_in)
        # Sparse codes of all rows fit in memory (12 bytes a pair); the activations of all sources would not.
        self.codes = [crosscoder.encode(self._read(block)).sparse() for block in blocks]

    def _read(self, rows: Int[np.ndarray, "row"]) -> Float[Tensor, "token source d_model"]:
        """Raw activations that the dictionary reads, at the kept positions along these rows."""
        keep = torch.from_numpy(np.ascontiguousarray(self.corpus.keep[rows]))
        return select_sources(self.reader.read(rows)[keep].float(), self.reads).to(self.device)

    @torch.no_grad()
    def compute_losses(self, model: HookedModel, index: int, source: Source) -> SpliceLosses:
        """All losses of written source `index`, block by block."""
        parts = [
            self._block_losses(model, index, source, rows, codes)
            for rows, codes in zip(self.blocks, self.codes, strict=True)
        ]
        names = [field.name for field in dataclasses.fields(SpliceLosses)]
        return SpliceLosses(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def _block_losses(
        self, model: HookedModel, index: int, source: Source, rows: Int[np.ndarray, "row"], codes: Codes
    ) -> SpliceLosses:
        corpus, device = self.corpus, model.device
        run = run_clean(model, corpus, rows, source.snapshot.label, [source.hook_point])
        # A snapshot may read other words for template tokens, but is asked for the text's own.
        targets = torch.from_numpy(np.array(corpus.tokens[rows])).long().to(device)
        keep = torch.from_numpy(np.ascontiguousarray(corpus.keep[rows])).to(device)
        counted = predicted_positions(corpus, rows, self.vocabulary)
        predicted = torch.from_numpy(counted).to(device)
        x = None if self.crosscoder.W_skip is None else self._read(rows)
        recon = self.crosscoder.decode(codes, x)[:, index]

        clean = run.logits

        def changed(value: Float[Tensor, "token_or_one d_model"]) -> Tensor:
            replaced = run.hidden[source.hook_point].clone()
            replaced[keep] = value.to(replaced)
            return run_with(model, run.tokens, run.mask, source.hook_point, replaced)

        ce_clean, _ = compute_token_losses(clean, targets, predicted)
        ce_spliced, kl = compute_token_losses(changed(recon), targets, predicted, clean)
        assert kl is not None, "clean logits give a divergence"
        ce_zero, _ = compute_token_losses(changed(torch.zeros_like(recon[:1])), targets, predicted)
        ce_mean, _ = compute_token_losses(changed(self.means[index, None]), targets, predicted)
        row, position = counted.nonzero()
        values = [each.float().cpu().numpy() for each in (ce_clean, ce_spliced, ce_zero, ce_mean, kl)]
        return SpliceLosses(rows[row].astype(np.int64), position.astype(np.int64), *values)


def _by_snapshot(sources: Sequence[Source], indices: Sequence[int]) -> dict[str, list[int]]:
    """The indices grouped by their source's snapshot, so that each model is opened once."""
    groups: dict[str, list[int]] = {}
    for index in indices:
        groups.setdefault(sources[index].snapshot.label, []).append(index)
    return groups


def _fingerprint(
    crosscoder: Crosscoder, corpus: Corpus, rows: Int[np.ndarray, "row"], means: Float[Tensor, "source d_model"]
) -> str:
    """A hash of everything that the losses depend on but the models, which the caller's artifact id covers."""
    digest = hashlib.sha256(name_text(corpus).encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    for tensor in (means, *crosscoder.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]
