"""The loss of every snapshot on every predicted token, in one memory-mapped matrix."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.numpy import save

from ontogeny.errors import NonFiniteError
from ontogeny.quanta.documents import Documents
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.snapshots.token_losses import compute_token_losses
from ontogeny.tokens.corpus import fingerprint_of
from ontogeny.tokens.tensor_file import ColumnWriter, map_tensors
from ontogeny.workspace import write_bytes

BATCH_TOKENS = 4096
"""Tokens of one forward, padding counted."""


def measure_document_losses(
    model: HookedModel, documents: Documents, batch_tokens: int = BATCH_TOKENS
) -> Float[np.ndarray, " token"]:
    """−log P of every predicted token given its document before it, nats, float32, by canonical index.

    Documents of like length go together, padded at their ends.
    """
    losses = np.full(documents.n_predicted, np.nan, dtype=np.float32)
    for chosen in _batches(documents, batch_tokens):
        length = int(documents.lengths[chosen].max())
        rows = torch.zeros((len(chosen), length), dtype=torch.int64)
        real = torch.arange(length) < torch.from_numpy(documents.lengths[chosen])[:, None]
        rows[real] = torch.from_numpy(np.concatenate([documents.document(each) for each in chosen.tolist()]))
        real[:, 0] = False
        found = compute_token_losses(model, rows, real).numpy()
        losses[np.concatenate([np.arange(*documents.starts[each : each + 2]) for each in chosen])] = found
    return losses


def _batches(documents: Documents, batch_tokens: int) -> Iterator[Int[np.ndarray, " document"]]:
    """Documents with something to predict, longest first, so many that they fit when padded; at least one."""
    order = np.argsort(-documents.lengths, kind="stable")
    order = order[documents.lengths[order] >= 2]
    start = 0
    while start < len(order):
        stop = start + max(1, batch_tokens // int(documents.lengths[order[start]]))
        yield order[start:stop]
        start = stop


@dataclass(frozen=True)
class LossMatrix:
    """Losses of all snapshots, a memory map [token snapshot] that lies snapshot by snapshot; nats, float32."""

    values: Float[np.ndarray, "token snapshot"]
    labels: tuple[str, ...]


def measure_series_losses(
    series: SnapshotSeries, documents: Documents, folder: Path, device: str = "cpu", batch_tokens: int = BATCH_TOKENS
) -> LossMatrix:
    """The losses of every snapshot, opened one at a time; a killed call goes on with the snapshot it was at.

    `folder` may hold matrices of other snapshots and documents: files are named by what they depend on.
    NonFiniteError if a loss is NaN or infinite: names snapshot and token.
    """
    text = fingerprint_of(documents.tokens, documents.offsets)
    identities = [series.identity(index) for index in range(len(series))]
    whole = folder / f"losses.{fingerprint_of(np.array([text, *identities]))[:12]}.safetensors"
    if not whole.is_file():
        parts = [folder / f"snapshot.{identity[:12]}.{text[:12]}.safetensors" for identity in identities]
        for index, part in enumerate(parts):
            if not part.is_file():
                model = series.open(index, device=device)
                found = measure_document_losses(model, documents, batch_tokens)
                del model
                _check_finite(found, series.labels[index])
                write_bytes(part, save({"losses": found}))
        _join(parts, whole)
    return LossMatrix(map_tensors(whole)["losses"].T, tuple(series.labels))


def _join(parts: list[Path], whole: Path) -> None:
    """One file [snapshot token], renamed when it is whole; then the parts go."""
    scratch = whole.with_suffix(".joining")
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed call left
    scratch.mkdir(parents=True)
    with ColumnWriter(scratch) as writer:
        for part in parts:
            writer.append({"losses": map_tensors(part)["losses"][None]})
        writer.join(scratch / whole.name)
    (scratch / whole.name).replace(whole)
    scratch.rmdir()
    for part in set(parts):
        part.unlink()


def _check_finite(losses: Float[np.ndarray, " token"], label: str) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise NonFiniteError(
            f"snapshot {label} has loss {losses[bad[0]]} on the token of canonical index {bad[0]}; leave the snapshot "
            "out, or look at its weights with `ontogeny audit`."
        )
