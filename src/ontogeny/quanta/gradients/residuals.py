"""The residual stream of all batches at some places, in memory or in a file."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.quanta.gradients.samples import Samples
from ontogeny.workspace import disk_errors


class Residuals:
    """`[slot cell d_model]`: batches end to end, padded as they run, so that reading one from memory copies nothing.

    A file is read and written, not mapped: mapped pages would count as memory of this process.
    """

    def __init__(self, n_slots: int, samples: Samples, d_model: int, dtype: torch.dtype, file: Path | None) -> None:
        self.shapes = {batch.start: samples.real(batch).shape for batch in samples.batches}
        ends = np.cumsum([0, *(shape.numel() for shape in self.shapes.values())]).tolist()
        self.cells = {start: slice(*span) for start, span in zip(self.shapes, itertools.pairwise(ends))}
        self.n_cells, self.d_model, self.dtype, self.file = ends[-1], d_model, dtype, file
        if file is None:
            self.values = torch.zeros(n_slots, self.n_cells, d_model, dtype=dtype)
        else:
            with disk_errors(file):
                file.touch()

    def write(self, slot: int, batch: slice, padded: Float[Tensor, "sample position d_model"]) -> None:
        """Keep a batch."""
        self._write(slot, self.cells[batch.start], padded.detach().flatten(0, 1).to("cpu", self.dtype))

    def read(self, slot: int, batch: slice) -> Float[Tensor, "sample position d_model"]:
        """A batch; from memory, as a view."""
        return self._read(slot, self.cells[batch.start]).view(*self.shapes[batch.start], -1)

    def iter_slot(self, slot: int) -> Iterator[Float[Tensor, "cell d_model"]]:
        """All batches of a slot, flat."""
        for cells in self.cells.values():
            yield self._read(slot, cells)

    def fill_slot(self, slot: int, values: Float[np.ndarray, "cell d_model"]) -> None:
        """Put back what `iter_slot` gave, end to end."""
        for cells in self.cells.values():
            self._write(slot, cells, torch.from_numpy(np.array(values[cells])))

    def _write(self, slot: int, cells: slice, flat: Float[Tensor, "cell d_model"]) -> None:
        if self.file is None:
            self.values[slot, cells] = flat
            return
        with disk_errors(self.file), self.file.open("r+b") as file:
            file.seek(self._offset(slot, cells))
            flat.contiguous().numpy().tofile(file)

    def _read(self, slot: int, cells: slice) -> Float[Tensor, "cell d_model"]:
        if self.file is None:
            return self.values[slot, cells]
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        count = (cells.stop - cells.start) * self.d_model
        flat = np.fromfile(self.file, dtype=kind, count=count, offset=self._offset(slot, cells))
        return torch.from_numpy(flat).view(-1, self.d_model)

    def _offset(self, slot: int, cells: slice) -> int:
        return (slot * self.n_cells + cells.start) * self.d_model * self.dtype.itemsize

    @staticmethod
    def count(samples: Samples) -> int:
        """Cells of one slot."""
        return sum(samples.real(batch).numel() for batch in samples.batches)
