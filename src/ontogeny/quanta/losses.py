"""The loss of every snapshot on every predicted token: a file a snapshot, and a matrix that is a view of them."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from safetensors.numpy import save

from ontogeny.errors import NonFiniteError
from ontogeny.quanta.documents import Documents
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.snapshots.token_losses import compute_token_losses
from ontogeny.tokens.tensor_file import ColumnWriter, map_tensors
from ontogeny.workspace import write_bytes

BATCH_TOKENS = 4096
"""Tokens of one forward, padding counted."""
PART_TOKENS = 1 << 19
"""Tokens after which a part of a snapshot's losses is kept on disk: what a killed call loses at most."""
ENOUGH_TOKENS = 512
"""Tokens of a batch from which on more do not make it faster."""
ALIKE = 0.9
"""Documents of a batch are at least this share of its longest, once it is large enough."""
FILE = "losses.safetensors"


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
    """Documents with something to predict, longest first, so many that they fit when padded; at least one.

    Where a batch is large enough for full speed, it ends before documents of which much would be padding.
    """
    order = np.argsort(-documents.lengths, kind="stable")
    order = order[documents.lengths[order] >= 2]
    lengths = documents.lengths[order]
    start = 0
    while start < len(order):
        longest = int(lengths[start])
        most = start + max(1, batch_tokens // longest)
        alike = int(np.searchsorted(-lengths, -ALIKE * longest, side="right"))
        stop = min(most, max(alike, start + -(-ENOUGH_TOKENS // longest)))
        yield order[start:stop]
        start = stop


def measure_snapshot_losses(
    open_model: Callable[[], HookedModel],
    documents: Documents,
    folder: Path,
    label: str,
    batch_tokens: int = BATCH_TOKENS,
    on_part: Callable[[int], None] = lambda n_tokens: None,
) -> Path:
    """The file of one snapshot's losses in `folder`, by canonical index; a killed call goes on with the part it was at.

    `on_part` is told how many predicted tokens are done. The model is opened if a part is missing. NonFiniteError if a
    loss is NaN or infinite: names snapshot and token.
    """
    whole = folder / FILE
    if whole.is_file():
        return whole
    model: HookedModel | None = None
    parts = []
    for first, last in _iter_parts(documents):
        part = folder / f"part.{first}.{last}.safetensors"
        if not part.is_file():
            model = open_model() if model is None else model
            found = measure_document_losses(model, documents.part(first, last), batch_tokens)
            _check_finite(found, label, int(documents.starts[first]))
            write_bytes(part, save({"losses": found}))
        parts.append(part)
        on_part(int(documents.starts[last]))
    _join(parts, whole)
    return whole


def _iter_parts(documents: Documents) -> Iterator[tuple[int, int]]:
    """Documents first … last − 1, of about `PART_TOKENS` tokens, at least one document each."""
    first = 0
    while first < len(documents):
        bound = documents.offsets[first] + PART_TOKENS
        last = max(first + 1, int(np.searchsorted(documents.offsets, bound, side="right")) - 1)
        yield first, last
        first = last


def _join(parts: Sequence[Path], whole: Path) -> None:
    """One file [token], renamed when it is whole; then the parts go."""
    scratch = whole.with_suffix(".joining")
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed call left
    scratch.mkdir(parents=True)
    with ColumnWriter(scratch) as writer:
        for part in parts:
            writer.append({"losses": map_tensors(part)["losses"]})
        writer.join(scratch / whole.name)
    (scratch / whole.name).replace(whole)
    scratch.rmdir()
    for part in parts:
        part.unlink()


def _check_finite(losses: Float[np.ndarray, " token"], label: str, first: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise NonFiniteError(
            f"snapshot {label} has loss {losses[bad[0]]} on the token of canonical index {first + bad[0]}; leave the "
            "snapshot out, or look at its weights with `ontogeny audit`."
        )


@dataclass(frozen=True)
class LossMatrix:
    """Losses of all snapshots, float32, nats: a matrix [token snapshot] whose columns are memory maps of files.

    `losses[:, -1]` is the map of the last snapshot, `losses[tokens]` the rows of some tokens, `losses[tokens, 2]` both.
    """

    columns: tuple[Float[np.ndarray, " token"], ...]
    labels: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, snapshots)."""
        return len(self.columns[0]), len(self.columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, key: tuple[slice | np.ndarray, int]) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray: ...
    def __getitem__(self, key: slice | np.ndarray | tuple[slice | np.ndarray, int]) -> Shaped[np.ndarray, "..."]:
        if isinstance(key, tuple):
            tokens, snapshot = key
            return self.columns[snapshot][tokens]
        return np.stack([column[key] for column in self.columns], axis=1)


def open_losses(files: Sequence[Path], labels: Sequence[str]) -> LossMatrix:
    """The matrix over files that `measure_snapshot_losses` wrote of the same documents."""
    columns = tuple(map_tensors(file)["losses"] for file in files)
    assert len({len(column) for column in columns}) == 1, "losses of different documents"
    return LossMatrix(columns, tuple(labels))


def measure_series_losses(
    series: SnapshotSeries, documents: Documents, folder: Path, device: str = "cpu", batch_tokens: int = BATCH_TOKENS
) -> LossMatrix:
    """The losses of every snapshot, opened one at a time; a killed call goes on where it was.

    `folder` may hold those of other snapshots and documents: each has a folder named by what it depends on, so that
    another snapshot measures nothing else anew. Errors: as `measure_snapshot_losses`.
    """
    files = []
    for index, label in enumerate(series.labels):
        place = folder / f"{series.identity(index)[:12]}.{documents.fingerprint[:12]}"
        place.mkdir(parents=True, exist_ok=True)
        files.append(
            measure_snapshot_losses(
                lambda index=index: series.open(index, device=device),  # type: ignore[misc]
                documents,
                place,
                label,
                batch_tokens,
            )
        )
    return open_losses(files, series.labels)
