"""Activations in memory: one's own tensors, or a harvest small enough not to need a disk."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.batches import Block
from ontogeny.activations.plan import AppendedRows, RowIndex, StreamPlan, columns_of
from ontogeny.activations.stored import StoredRows, check_appended
from ontogeny.errors import StoreError
from ontogeny.types import HookPoint, Snapshot, Source


class MemoryStore(StoredRows):
    """Rows of all sources in memory, shuffled as a whole; `values[source]` is [row d_model]."""

    pool_shards = 1

    def __init__(
        self,
        sources: Sequence[Source],
        values: Sequence[Tensor],
        index: RowIndex,
        *,
        high_norm_multiple: float | None = None,
        drop_high_norm: bool = False,
    ) -> None:
        self.sources, self.index = tuple(sources), index
        self.values = [part.contiguous() for part in values]
        self.d_model = int(values[0].shape[1])
        self.high_norm_multiple, self.drop_high_norm = high_norm_multiple, drop_high_norm
        self._pending: list[Tensor] = []

    @classmethod
    def from_tensors(
        cls, x: Float[Tensor, "token source d_model"], names: Sequence[str], *, hook_point: str = "resid_post.0"
    ) -> "MemoryStore":
        """A store of one's own activations, one name per source; they are copied, in their own dtype.

        StoreError where names and sources do not match in number, a name comes twice, or a number is not finite.
        """
        if len(names) != x.shape[1] or len(set(names)) != len(names):
            raise StoreError(f"{x.shape[1]} sources need as many different names; got {', '.join(names) or 'none'}.")
        check_appended(x, len(names), x.shape[2])
        sources = [Source(Snapshot(model=name, label=name), HookPoint.parse(hook_point)) for name in names]
        copies = [part.detach().cpu().clone() for part in x.unbind(dim=1)]
        return cls(sources, copies, AppendedRows([len(x)]))

    @property
    def n_shards(self) -> int:
        """One: the whole store is in memory."""
        return 1

    def read_norms(self) -> list[Float[np.ndarray, "source token"]]:
        """The norms of all rows."""
        self._merge()
        norms = [torch.linalg.vector_norm(part, dim=-1, dtype=torch.float32).numpy() for part in self.values]
        return [np.stack(norms)]

    def keep_masks(self) -> list[np.ndarray]:
        """Which rows the corpus keeps."""
        return [np.concatenate([self.index.keep(shard) for shard in range(len(self.index.counts))])]

    def load_block(self, shards: Sequence[int]) -> Block:
        """All rows; nothing is copied."""
        self._merge()
        columns = columns_of(self.index, range(len(self.index.counts)))
        return Block([self.values], columns, np.flatnonzero(self.summary.keep[0]))

    def read_rows(self, rows: Int[np.ndarray, "token"]) -> Float[Tensor, "token source d_model"]:
        """The rows at these places, kept or not; StoreError out of range."""
        self._merge()
        self.check_rows(rows)
        chosen = torch.from_numpy(rows)
        return torch.stack([part[chosen].to(torch.float32) for part in self.values], dim=1)

    def append(self, x: Float[Tensor, "token source d_model"]) -> None:
        """Add rows (they are copied); StoreError on a harvested stream, whose rows follow its plan."""
        if not isinstance(self.index, AppendedRows):
            raise StoreError("rows of a harvested stream come from its models; append to `MemoryStore.from_tensors`.")
        check_appended(x, len(self.sources), self.d_model)
        self._pending.append(x.detach().cpu().clone())
        self.index.sizes.append(len(x))
        self._summary = None

    def _merge(self) -> None:
        """Join what was appended to the rest: once for many appends."""
        if self._pending:
            added = torch.cat(self._pending)
            self.values = [torch.cat([part, added[:, place].to(part.dtype)]) for place, part in enumerate(self.values)]
            self._pending = []


class MemoryWriter:
    """Takes one source's shards from a harvest into memory; join several with `memory_store`."""

    def __init__(self, source: Source, plan: StreamPlan, *, dtype: torch.dtype = torch.float32) -> None:
        self.source, self.plan, self.buffer_dtype = source, plan, dtype
        self.values: Tensor | None = None
        self._absent = set(range(plan.n_shards))

    def missing(self, *, full: bool = True) -> list[int]:
        """Shards not yet taken."""
        return sorted(self._absent)

    def remove_leftovers(self) -> None:
        """Nothing: memory has none."""

    def write(self, shard: int, values: Float[Tensor, "token d_model"], norms: Float[Tensor, "token"]) -> None:
        """Put a shard's rows in their place."""
        if self.values is None:
            self.values = torch.empty(int(self.plan.counts.sum()), values.shape[1], dtype=self.buffer_dtype)
        first = int(self.plan.counts[:shard].sum())
        self.values[first : first + len(values)] = values
        self._absent.discard(shard)

    def finish(self) -> None:
        """All shards must have come."""
        assert not self._absent, f"{len(self._absent)} shards never came"


def memory_store(
    writers: Sequence[MemoryWriter], *, high_norm_multiple: float | None = 10.0, drop_high_norm: bool = False
) -> MemoryStore:
    """The stream over what several writers took from one plan."""
    values = [writer.values for writer in writers if writer.values is not None]
    assert len(values) == len(writers), "a writer is empty: harvest before joining"
    return MemoryStore(
        [writer.source for writer in writers],
        values,
        writers[0].plan,
        high_norm_multiple=high_norm_multiple,
        drop_high_norm=drop_high_norm,
    )
