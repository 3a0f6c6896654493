"""The difference of two snapshots' activations as a stream of its own: one source, so an SAE learns on it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.activations.memory import MemoryStore
from ontogeny.activations.sharded import ShardedStore
from ontogeny.activations.shards import SourceMeta, SourceShards
from ontogeny.activations.stream import ActivationStream
from ontogeny.config import content_hash
from ontogeny.errors import StoreError
from ontogeny.types import Snapshot, Source


class DifferenceShards(SourceShards):
    """The shards of `after` less those of `before`, row by row, in float32; nothing of it is kept on disk.

    The norms of its rows are worked out from the rows when they are first asked for: one read of both sources.
    """

    def __init__(self, before: SourceShards, after: SourceShards) -> None:
        meta = SourceMeta(
            source=difference_source(before.meta.source, after.meta.source),
            fingerprint=content_hash([before.meta.fingerprint, after.meta.fingerprint], length=16),
            plan=after.meta.plan,
            dtype="float32",
            d_model=after.meta.d_model,
        )
        super().__init__(after.directory, meta, after.index)
        self.before, self.after = before, after
        self._norms: dict[int, Float[np.ndarray, " token"]] = {}

    def check(self, shard: int, *, full: bool = False) -> None:
        """StoreError where either source's shard is damaged."""
        self.before.check(shard, full=full)
        self.after.check(shard, full=full)

    def read(self, shard: int) -> Float[Tensor, "token d_model"]:
        """after - before of a shard's rows, float32."""
        return self.after.read(shard).to(torch.float32) - self.before.read(shard).to(torch.float32)

    def read_rows(self, shard: int, rows: np.ndarray) -> Float[Tensor, "token d_model"]:
        """after - before of some rows, float32."""
        return self.after.read_rows(shard, rows) - self.before.read_rows(shard, rows)

    def read_norms(self, shard: int) -> Float[np.ndarray, "token"]:
        """Norms of the differences of a shard's rows."""
        if shard not in self._norms:
            norms = torch.linalg.vector_norm(self.read(shard), dim=-1, dtype=torch.float32)
            self._norms[shard] = norms.numpy()
        return self._norms[shard]


def difference_source(before: Source, after: Source) -> Source:
    """The source that a difference stands for: `chat-base:resid_post.13`."""
    snapshot = Snapshot(
        model=f"{after.snapshot.model} - {before.snapshot.model}",
        step=after.snapshot.step,
        tokens=after.snapshot.tokens,
        label=f"{after.snapshot.label}-{before.snapshot.label}",
    )
    return Source(snapshot, after.hook_point)


def open_difference(stream: ActivationStream, before: str, after: str) -> ShardedStore | MemoryStore:
    """A view of a stream whose sources are `after` less `before` (labels of snapshots), one a hook point.

    What it keeps, orders and shuffles is as in the stream; a row is high-norm where its difference is. StoreError
    where a snapshot is not in the stream, and for a live stream, which has no rows to go back to.
    """
    pairs = [(_place(stream, before, point), _place(stream, after, point)) for point in _hook_points(stream)]
    if isinstance(stream, ShardedStore):
        shards = [DifferenceShards(stream.shards[first], stream.shards[second]) for first, second in pairs]
        return type(stream)(
            shards,
            stream.index,
            pool_shards=stream.pool_shards,
            high_norm_multiple=stream.high_norm_multiple,
            drop_high_norm=stream.drop_high_norm,
        )
    if isinstance(stream, MemoryStore):
        return MemoryStore(
            [difference_source(stream.sources[first], stream.sources[second]) for first, second in pairs],
            [stream.values[second].float() - stream.values[first].float() for first, second in pairs],
            stream.index,
            high_norm_multiple=stream.high_norm_multiple,
            drop_high_norm=stream.drop_high_norm,
        )
    raise StoreError(
        "the difference of two snapshots needs their activations stored; set activations.store = 'sharded' or 'memory'."
    )


def _hook_points(stream: ActivationStream) -> list[str]:
    return list(dict.fromkeys(str(source.hook_point) for source in stream.sources))


def _place(stream: ActivationStream, label: str, hook_point: str) -> int:
    """Where a snapshot's source at a hook point lies in the stream; StoreError where it does not."""
    for index, source in enumerate(stream.sources):
        if source.snapshot.label == label and str(source.hook_point) == hook_point:
            return index
    labels = dict.fromkeys(source.snapshot.label for source in stream.sources)
    raise StoreError(f"the difference names the snapshot {label!r}, which is not among {', '.join(labels)}.")
