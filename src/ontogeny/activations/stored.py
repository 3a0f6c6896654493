"""What the stores in memory and on disk share: rows that an index names, kept or not by their norms."""

from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.batches import ShuffledStream
from ontogeny.activations.plan import RowIndex
from ontogeny.activations.scaling import NormSummary, compute_norm_summary, compute_scales
from ontogeny.activations.stream import ActivationStore, StreamCounts
from ontogeny.errors import StoreError


class StoredRows(ShuffledStream, ActivationStore):
    """A store all of whose rows are there; subclasses say how norms and rows are read."""

    index: RowIndex
    high_norm_multiple: float | None
    drop_high_norm: bool
    _summary: NormSummary | None = None

    @abstractmethod
    def read_norms(self) -> list[Float[np.ndarray, "source token"]]:
        """The norms of all rows, shard by shard of the stream."""

    @abstractmethod
    def keep_masks(self) -> list[np.ndarray]:
        """Which rows the corpus keeps, shard by shard of the stream."""

    @property
    def summary(self) -> NormSummary:
        """Norms of all rows and who is kept; computed the first time, and again once rows were added."""
        if self._summary is None:
            self._summary = compute_norm_summary(
                self.read_norms() or [np.empty((len(self.sources), 0), dtype=np.float32)],
                self.keep_masks() or [np.empty(0, dtype=bool)],
                multiple=self.high_norm_multiple,
                drop_high_norm=self.drop_high_norm,
            )
        return self._summary

    @property
    def n_rows(self) -> int:
        """Rows that one epoch delivers."""
        return int(self.summary.kept_counts.sum())

    @property
    def counts(self) -> StreamCounts:
        """Rows there, kept and of high norm."""
        return StreamCounts(int(self.index.counts.sum()), self.n_rows, self.summary.high_norm)

    @property
    def scales(self) -> Float[Tensor, "source"]:
        """sqrt(d_model) / mean norm over the kept training rows; StoreError on a held-out stream, which has none."""
        if self.index.split == "held_out":
            raise StoreError(
                "scales come from training rows only; take them from the training stream or the dictionary."
            )
        return compute_scales(self.summary.mean_norm, self.d_model)

    def check_rows(self, rows: Int[np.ndarray, "token"]) -> None:
        """StoreError where a row is asked for that the store has not."""
        total = int(self.index.counts.sum())
        if len(rows) and not (rows.min() >= 0 and rows.max() < total):
            raise StoreError(f"row {int(rows.max())} is asked for and the store has rows 0 to {total - 1}.")


def check_appended(x: Tensor, n_sources: int, d_model: int) -> None:
    """StoreError where appended rows have the wrong shape or are not finite."""
    if tuple(x.shape[1:]) != (n_sources, d_model):
        raise StoreError(f"rows of shape {tuple(x.shape[1:])} do not fit a store of {n_sources} sources x {d_model}.")
    if not torch.isfinite(x).all():
        raise StoreError("the rows to append hold NaN or infinity; clean them first.")
