"""Vectors of all samples' positions, end to end, in memory or in a file."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.workspace import disk_errors


class Residuals:
    """`[slot position d_model]` of samples of unequal length; padded batches go in and come out."""

    def __init__(
        self, n_slots: int, lengths: Int[Tensor, " sample"], d_model: int, dtype: torch.dtype, file: Path | None
    ) -> None:
        self.lengths = lengths
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        shape = (n_slots, int(self.starts[-1]), d_model)
        if file is None:
            self.values = torch.zeros(shape, dtype=dtype)
        else:
            with disk_errors(file):
                kind = np.dtype("<f8" if dtype == torch.float64 else "<f4")
                self.values = torch.from_numpy(np.memmap(file, dtype=kind, mode="w+", shape=shape))

    def write(self, slot: int, samples: slice, padded: Float[Tensor, "sample position d_model"]) -> None:
        """Keep the real positions of some samples."""
        real = self.real(samples)
        start, stop = int(self.starts[samples.start]), int(self.starts[samples.stop])
        self.values[slot, start:stop] = padded.detach().to(self.values)[real]

    def read(self, slot: int, samples: slice) -> Float[Tensor, "sample position d_model"]:
        """Some samples, padded with zeros at their ends."""
        real = self.real(samples)
        padded = self.values.new_zeros(*real.shape, self.values.shape[-1])
        start, stop = int(self.starts[samples.start]), int(self.starts[samples.stop])
        padded[real] = self.values[slot, start:stop]
        return padded

    def real(self, samples: slice) -> Tensor:
        """Which cells are positions, bool [sample position]."""
        lengths = self.lengths[samples]
        return torch.arange(int(lengths.max())) < lengths[:, None]
