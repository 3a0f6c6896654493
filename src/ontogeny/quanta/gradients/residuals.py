"""The residual stream of all batches at some places, in memory or in a file."""

import itertools
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.quanta.gradients.samples import Samples
from ontogeny.workspace import disk_errors


class Residuals:
    """`[slot cell d_model]`: batches end to end, padded as they run, so that reading and writing one copies nothing."""

    def __init__(self, n_slots: int, samples: Samples, d_model: int, dtype: torch.dtype, file: Path | None) -> None:
        self.shapes = {batch.start: samples.real(batch).shape for batch in samples.batches}
        ends = np.cumsum([0, *(shape.numel() for shape in self.shapes.values())]).tolist()
        self.cells = {start: slice(*span) for start, span in zip(self.shapes, itertools.pairwise(ends))}
        shape = (n_slots, ends[-1], d_model)
        if file is None:
            self.values = torch.zeros(shape, dtype=dtype)
        else:
            with disk_errors(file):
                kind = np.dtype("<f8" if dtype == torch.float64 else "<f4")
                self.values = torch.from_numpy(np.memmap(file, dtype=kind, mode="w+", shape=shape))

    def write(self, slot: int, batch: slice, padded: Float[Tensor, "sample position d_model"]) -> None:
        """Keep a batch."""
        self.values[slot, self.cells[batch.start]] = padded.detach().flatten(0, 1).to(self.values)

    def read(self, slot: int, batch: slice) -> Float[Tensor, "sample position d_model"]:
        """A batch, as a view."""
        return self.values[slot, self.cells[batch.start]].view(*self.shapes[batch.start], -1)

    @staticmethod
    def count(samples: Samples) -> int:
        """Cells of one slot."""
        return sum(samples.real(batch).numel() for batch in samples.batches)
