"""Activations on disk: a stream is a view over the directories of its sources, so a snapshot comes or goes alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.batches import Block
from ontogeny.activations.config import StoredDtype
from ontogeny.activations.plan import AppendedRows, RowIndex, StreamPlan, columns_of
from ontogeny.activations.shards import META, ShardWriter, SourceShards
from ontogeny.activations.stored import StoredRows, check_appended
from ontogeny.errors import StoreError
from ontogeny.types import Source
from ontogeny.workspace import read_json, write_json

ROWS = "rows.json"


class ShardedStore(StoredRows):
    """Several sources of one token stream on disk; batches, scales and any rows of them.

    Open one with `open_stream` (harvested along a plan) or `ShardedStore.create` (the user's own tensors, appended).
    """

    def __init__(
        self,
        shards: Sequence[SourceShards],
        index: RowIndex,
        *,
        pool_shards: int = 2,
        high_norm_multiple: float | None = None,
        drop_high_norm: bool = False,
        root: Path | None = None,
    ) -> None:
        widths = {source.meta.d_model for source in shards}
        if len(widths) != 1:
            raise StoreError(f"the sources' widths differ ({sorted(widths)}); one stream needs one d_model.")
        names = [source.meta.source.name for source in shards]
        if len(set(names)) < len(names):
            raise StoreError(f"a source is given twice among {', '.join(names)}; name each once.")
        self.shards, self.index, self.pool_shards, self.root = list(shards), index, pool_shards, root
        self.sources: tuple[Source, ...] = tuple(source.meta.source for source in shards)
        self.d_model = widths.pop()
        self.high_norm_multiple, self.drop_high_norm = high_norm_multiple, drop_high_norm

    @classmethod
    def create(
        cls, root: Path, sources: Sequence[Source], d_model: int, *, dtype: StoredDtype = "float32"
    ) -> "ShardedStore":
        """A store on disk for one's own tensors, new or as an earlier process left it; fill it with `append`."""
        index = AppendedRows([int(size) for size in read_json(root / ROWS)] if (root / ROWS).is_file() else [])
        shards = []
        for place, source in enumerate(sources):
            directory = root / f"source{place:03d}"
            writer = ShardWriter(directory, source, index, dtype=dtype)
            writer.d_model = d_model
            if not (directory / META).is_file():
                writer.finish()
            shards.append(SourceShards.open(directory, index))
            if shards[-1].meta != writer.meta():
                raise StoreError(
                    f"{directory} holds {shards[-1].meta.source.name}, not {source.name}; take another folder."
                )
        return cls(shards, index, root=root)

    @property
    def n_shards(self) -> int:
        """Shards of each source."""
        return len(self.index.counts)

    def read_norms(self) -> list[Float[np.ndarray, "source token"]]:
        """The norms of all rows, shard by shard: 4 bytes a row and source are read."""
        return [np.stack([source.read_norms(shard) for source in self.shards]) for shard in range(self.n_shards)]

    def keep_masks(self) -> list[np.ndarray]:
        """Which rows the corpus keeps, shard by shard."""
        return [self.index.keep(shard) for shard in range(self.n_shards)]

    def load_block(self, shards: Sequence[int]) -> Block:
        """Read shards."""
        values = [[source.read(shard) for source in self.shards] for shard in shards]
        kept = np.flatnonzero(np.concatenate([self.keep(shard) for shard in shards]))
        return Block(values, columns_of(self.index, shards), kept, self.index.run(self.d_model))

    def keep(self, shard: int) -> np.ndarray:
        """Which of a shard's rows batches deliver."""
        return self.summary.keep[shard]

    def read_rows(self, rows: Int[np.ndarray, "token"]) -> Float[Tensor, "token source d_model"]:
        """The rows at these places in written order, kept or not; StoreError out of range."""
        self.check_rows(rows)
        ends = np.cumsum(self.index.counts)
        shard_of = np.searchsorted(ends, rows, side="right")
        out = torch.empty(len(rows), len(self.shards), self.d_model)
        for shard in np.unique(shard_of):
            at = np.flatnonzero(shard_of == shard)
            local = rows[at] - (ends[shard] - self.index.counts[shard])
            for place, source in enumerate(self.shards):
                out[torch.from_numpy(at), place] = source.read_rows(int(shard), local)
        return out

    def append(self, x: Float[Tensor, "token source d_model"]) -> None:
        """Add rows as a shard of their own; StoreError on a harvested stream, whose rows follow its plan."""
        if self.root is None or not isinstance(self.index, AppendedRows):
            raise StoreError(
                "rows of a harvested stream come from its models; append to `ShardedStore.create` instead."
            )
        check_appended(x, len(self.shards), self.d_model)
        shard = len(self.index.sizes)
        sizes = [*self.index.sizes, len(x)]
        for place, source in enumerate(self.shards):
            writer = ShardWriter(source.directory, source.meta.source, AppendedRows(sizes), dtype=source.meta.dtype)
            values = x[:, place].to(writer.buffer_dtype).contiguous()
            writer.write(shard, values, torch.linalg.vector_norm(x[:, place], dim=-1, dtype=torch.float32))
        # The list of sizes comes last: a shard that it does not name is not there yet.
        write_json(self.root / ROWS, sizes)
        self.index.sizes.append(len(x))
        self._summary = None


class OrderedStore(ShardedStore):
    """A stream in corpus order, from which whole corpus rows are read: for examples, windows and behaviours."""

    def read(self, rows: Int[np.ndarray, "row"]) -> Float[Tensor, "row position source d_model"]:
        """Activations of whole corpus rows (by their number in the corpus), zero at padding; StoreError if not here."""
        plan = self.index
        assert isinstance(plan, StreamPlan)
        place_of = {int(row): place for place, row in enumerate(plan.row_order)}
        absent = [int(row) for row in rows if int(row) not in place_of]
        if absent:
            raise StoreError(f"corpus row {absent[0]} is not in this {plan.split} stream; ask for rows of that split.")
        occupied = np.asarray(plan.corpus.document[rows] >= 0)
        starts = self._starts()[[place_of[int(row)] for row in rows]]
        wanted = [start + np.arange(length) for start, length in zip(starts, occupied.sum(axis=1))]
        out = torch.zeros(*occupied.shape, len(self.shards), self.d_model)
        if wanted:
            out[torch.from_numpy(occupied)] = self.read_rows(np.concatenate(wanted))
        return out

    def _starts(self) -> Int[np.ndarray, "row"]:
        """Where each corpus row of the plan begins in written order."""
        assert isinstance(self.index, StreamPlan)
        lengths = np.concatenate([self.index.occupied(shard).sum(axis=1) for shard in range(self.n_shards)])
        return np.cumsum(lengths) - lengths


def open_stream(
    directories: Sequence[Path],
    plan: StreamPlan,
    *,
    pool_shards: int = 2,
    high_norm_multiple: float | None = 10.0,
    drop_high_norm: bool = False,
) -> ShardedStore:
    """A view over the directories of several sources, in the order given; an `OrderedStore` if the plan is ordered.

    StoreError names a directory that is unfinished or of another token stream, and a shard that is missing or torn.
    """
    if not directories:
        raise StoreError("a stream needs at least one source; harvest one first.")
    kind = OrderedStore if plan.layout == "ordered" else ShardedStore
    shards = [SourceShards.open(Path(directory), plan) for directory in directories]
    return kind(
        shards, plan, pool_shards=pool_shards, high_norm_multiple=high_norm_multiple, drop_high_norm=drop_high_norm
    )
