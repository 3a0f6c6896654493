"""Gradients of samples while a pass lasts, in a narrow format if asked for, the heaviest entries then in two numbers.

A gradient lies in few entries, and tokens share many of them: rounded to bfloat16, an error of 2^-9 in some twenty
entries does not average out, and cosines err by up to 1.5e-4. What rounding takes from 1 entry in 32, those that are
largest in the first batch, is kept beside them, for a 32nd of the memory: errors are then below 3e-5.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

HEAVY = 32
"""One entry in as many is kept in two numbers."""
COLUMNS = 128
"""Entries widened at once, at least: enough for a product at the full rate."""
CHUNK_CELLS = 1 << 22
"""Numbers widened for one product (16 MiB)."""


class Kept:
    """`values` [sample entry] in the format they are kept in."""

    def __init__(self, values: Float[Tensor, "sample entry"]) -> None:
        """Values to be filled, with `keep_rest` after a batch of them, or whole ones."""
        self.values = values
        self._heavy: Tensor | None = None
        self._rest: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    @staticmethod
    def count_bytes(dtype: torch.dtype) -> float:
        """Of an entry, with its share of what rounding takes."""
        return dtype.itemsize * (1 + 1 / HEAVY if dtype.itemsize < torch.float32.itemsize else 1.0)

    def keep_rest(self, samples: slice, exact: Float[Tensor, "batch entry"]) -> None:
        """Of a batch that was rounded into `values[samples]`, keep what that took from the heaviest entries."""
        if exact.dtype.itemsize <= self.values.dtype.itemsize:
            return
        if self._heavy is None or self._rest is None:
            lengths = exact.square().sum(dim=1, keepdim=True).clamp_min(torch.finfo(exact.dtype).tiny)
            shares = (exact.square() / lengths).sum(dim=0)
            self._heavy = shares.topk(exact.shape[1] // HEAVY).indices.sort().values
            self._rest = self.values.new_zeros(len(self.values), len(self._heavy))
        rounded = self.values[samples].index_select(1, self._heavy).to(exact.dtype)
        self._rest[samples] = (exact.index_select(1, self._heavy) - rounded).to(self._rest.dtype)

    def chunks(self, samples: slice = slice(None)) -> Iterator[Float[Tensor, "sample some"]]:
        """The entries of some samples, some columns at a time, in float32 at least."""
        values = self.values[samples]
        compute = torch.float64 if values.dtype == torch.float64 else torch.float32
        step = max(COLUMNS, CHUNK_CELLS // max(1, len(values)))
        for start in range(0, values.shape[1], step):
            chunk = values[:, start : start + step].to(compute)
            if self._heavy is not None and self._rest is not None:
                bounds = self._heavy.new_tensor([start, start + step])
                first, last = torch.searchsorted(self._heavy, bounds).tolist()
                chunk.index_add_(1, self._heavy[first:last] - start, self._rest[samples, first:last].to(compute))
            yield chunk
