"""Shuffled batches out of blocks of shards: the one iteration that every backend shares.

An epoch is a seeded permutation of the shards, cut into blocks that fit in memory. A permutation of the block's kept
rows, seeded by (seed, epoch, block), says which of them make up which batch; a batch takes its rows of a block in
written order, since ascending rows are gathered faster and nothing hangs on the order within a batch. It may begin in
one block and end in the next. Rows that were shuffled when they were written stay in short runs: another permutation
would mix an epoch no better, and a run is read at twice the speed of rows that lie apart; where runs begin is drawn for
each epoch, so that they are not made of the same rows each time. So order and boundaries depend on seed, batch size and
rows alone, and a cursor needs to know only its block and how many of the block's rows are used up.
"""

import functools
import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ontogeny.activations.buffers import Buffers
from ontogeny.activations.stream import ActivationBatch, ActivationStream, Cursor, TokenColumns
from ontogeny.errors import StoreError


@dataclass(frozen=True)
class Block:
    """Rows in memory, shard after shard: where they come from, and which of them are kept.

    `values[shard][source]` is [row d_model]; all sources of a shard have the same rows. `load_columns` says where they
    come from, and is asked only if somebody wants to know. `run`: how many neighbours stay together when the rows are
    shuffled; more than one only where neighbours were shuffled when they were written.
    """

    values: Sequence[Sequence[Tensor]]
    load_columns: Callable[[], TokenColumns]
    kept: Int[np.ndarray, "kept"]
    run: int = 1

    @functools.cached_property
    def dtype(self) -> torch.dtype:
        """What batches are delivered in: the sources' own dtype, or the one that holds all of them."""
        return functools.reduce(torch.promote_types, {part.dtype for shard in self.values for part in shard})

    @functools.cached_property
    def arrays(self) -> list[list[np.ndarray]]:
        """The bits of `values` in that dtype."""
        return [[bits(part.to(self.dtype)) for part in shard] for shard in self.values]

    @functools.cached_property
    def columns(self) -> Callable[[], TokenColumns]:
        """Where the block's rows come from, looked up once; whoever holds it does not hold the rows."""
        return functools.cache(self.load_columns)

    def order(self, seed: Sequence[int], batch_size: int) -> Int[np.ndarray, "kept"]:
        """The kept rows in the order in which batches take them: runs of neighbours, permuted, about a batch sorted."""
        generator = np.random.default_rng(seed)
        first = -int(generator.integers(self.run)) if self.run > 1 else 0
        starts = generator.permutation(np.arange(first, len(self.kept), self.run))
        together = max(1, batch_size // self.run)
        remainder = len(starts) % together
        starts[: len(starts) - remainder].reshape(-1, together).sort(axis=1)
        starts[len(starts) - remainder :].sort()
        places = (starts[:, None] + np.arange(self.run)).reshape(-1)
        return self.kept[places[(places >= 0) & (places < len(self.kept))]]


class _Placed(NamedTuple):
    epoch: int
    number: int
    last: bool
    block: Block


class ShuffledStream(ActivationStream):
    """A stream that loads blocks of shards; subclasses say how many shards there are and how a block is loaded."""

    pool_shards: int

    @property
    @abstractmethod
    def n_shards(self) -> int:
        """Shards in the stream."""

    @abstractmethod
    def load_block(self, shards: Sequence[int]) -> Block:
        """Load shards; runs in a thread while the block before is in use."""

    def shard_order(self, seed: int, epoch: int) -> Int[np.ndarray, "shard"]:
        """The order in which an epoch visits the shards."""
        return np.random.default_rng([seed, epoch]).permutation(self.n_shards)

    def iter_batches(
        self, batch_size: int, *, seed: int = 0, cursor: Cursor | None = None, epochs: int | None = None
    ) -> Iterator[ActivationBatch]:
        """As the contract has it; the next block loads while one is in use."""
        assert batch_size > 0, f"batch_size must be positive, not {batch_size}"
        if self.n_rows == 0:
            raise StoreError("no row of this stream is kept; loosen the corpus's masks or keep rows of high norm.")
        start = cursor or Cursor()
        delivered, taken = start.batch, start.taken
        builder = _BatchBuilder(batch_size, len(self.sources), self.d_model)
        for epoch, number, last, block in self._iter_blocks(seed, start, epochs):
            order = block.order([seed, epoch, number], batch_size)
            assert taken <= len(order), f"{start} lies beyond its block of {len(order)} rows"
            while taken < len(order):
                piece = order[taken : taken + builder.room]
                builder.add(block, piece)
                taken += len(piece)
                if builder.room == 0:
                    delivered += 1
                    at_end = taken == len(order)
                    if at_end and last:
                        yield builder.finish(Cursor(epoch + 1))
                    elif at_end:
                        yield builder.finish(Cursor(epoch, number + 1, delivered))
                    else:
                        yield builder.finish(Cursor(epoch, number, delivered, taken))
            taken = 0
            if last:
                if builder.filled and (epochs is not None or delivered == 0):
                    yield builder.finish(Cursor(epoch + 1))
                builder.clear()
                delivered = 0

    def _iter_blocks(self, seed: int, start: Cursor, epochs: int | None) -> Iterator[_Placed]:
        """The blocks from `start` on; while one is in use the next is loaded."""
        plan = self._iter_plan(seed, start, epochs)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load-block") as background:
            following = next(plan, None)
            loading = following and background.submit(self.load_block, following[3])
            while following and loading:
                (epoch, number, last, _), block = following, loading.result()
                following = next(plan, None)
                loading = following and background.submit(self.load_block, following[3])
                yield _Placed(epoch, number, last, block)

    def _iter_plan(
        self, seed: int, start: Cursor, epochs: int | None
    ) -> Iterator[tuple[int, int, bool, Sequence[int]]]:
        """(epoch, number in the epoch, whether it is the epoch's last, shards) of the blocks from `start` on."""
        span = itertools.count(start.epoch) if epochs is None else range(start.epoch, epochs)
        for epoch in span:
            order = [int(shard) for shard in self.shard_order(seed, epoch)]
            blocks = [order[i : i + self.pool_shards] for i in range(0, len(order), self.pool_shards)]
            first = start.block if epoch == start.epoch else 0
            for number in range(first, len(blocks)):
                yield epoch, number, number == len(blocks) - 1, blocks[number]


class _BatchBuilder:
    """Fills one batch after the other from rows of blocks.

    Rows are gathered source by source, since each source's lie together in its shards; so a batch is
    [source token d_model] in memory. They keep their dtype: whoever computes with them turns them to float32 and to
    [token source d_model] in the one pass that either would cost. One thread does it: gathering is bound by memory, and
    a second one gained nothing that splitting the work and waiting for it did not cost.
    """

    def __init__(self, size: int, n_sources: int, d_model: int) -> None:
        self.size, self.n_sources, self.d_model = size, n_sources, d_model
        self.buffers = Buffers()
        self.clear()

    def clear(self) -> None:
        """Begin a new batch; the last one is its receiver's."""
        self.x: Tensor | None = None
        self.parts: list[tuple[Callable[[], TokenColumns], np.ndarray]] = []
        self.filled = 0

    @property
    def room(self) -> int:
        """Rows that the batch still lacks."""
        return self.size - self.filled

    def add(self, block: Block, rows: Int[np.ndarray, "chosen"]) -> None:
        """Copy rows of a block behind those already there, those of its first shard first."""
        if self.x is None:
            self.x = self.buffers.lend((self.n_sources, self.size, self.d_model), block.dtype)
        assert self.x.dtype == block.dtype, f"a block of {block.dtype} in a stream of {self.x.dtype}"
        target, first = bits(self.x), 0
        for shard in block.arrays:
            here = rows[(rows >= first) & (rows < first + len(shard[0]))]
            local, places = here - first, slice(self.filled, self.filled + len(here))
            for values, out in zip(shard, target):
                # numpy's take into a given array gathers whole rows at 5-10 GB/s, torch's bf16 indexing at 1; mode
                # "clip" because "raise" makes it buffer its output.
                values.take(local, axis=0, out=out[places], mode="clip")
            self.parts.append((block.columns, here))
            self.filled += len(here)
            first += len(shard[0])

    def finish(self, cursor: Cursor) -> ActivationBatch:
        """Hand the batch out and begin the next."""
        assert self.x is not None
        batch = ActivationBatch(self.x.transpose(0, 1)[: self.filled], cursor, functools.partial(_columns, self.parts))
        self.clear()
        return batch


def _columns(parts: Sequence[tuple[Callable[[], TokenColumns], np.ndarray]]) -> TokenColumns:
    """Where the rows of a batch come from."""
    return TokenColumns.concatenate([columns().take(rows) for columns, rows in parts])


def bits(values: Tensor) -> np.ndarray:
    """A numpy view of a CPU tensor's memory; bfloat16, which numpy lacks, as int16."""
    return values.view(torch.int16).numpy() if values.dtype == torch.bfloat16 else values.numpy()
