"""Activations harvested while training: a bounded ring of shards on disk, so that no study needs all of them at once.

The order of batches is that of the same plan on disk. While training uses block n, the thread that loads block n + 1
first harvests what of it is not in the ring; the shards used longest ago make room. Every shard can be redone by
itself from its models, so resuming is re-harvesting the block at the cursor.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.batches import Block, ShuffledStream
from ontogeny.activations.config import StoredDtype
from ontogeny.activations.harvest import ReadableModel, harvest_source
from ontogeny.activations.plan import StreamPlan, columns_of
from ontogeny.activations.scaling import compute_norm_summary, compute_scales
from ontogeny.activations.shards import TORCH_DTYPES, ShardWriter, SourceShards, shard_path
from ontogeny.activations.stream import StreamCounts
from ontogeny.config import content_hash
from ontogeny.errors import ConfigError
from ontogeny.types import HookPoint, Snapshot, Source
from ontogeny.workspace import read_json, write_json

SCALES = "scales.json"
OpenModel = Callable[[int], ReadableModel]


class ModelRotation:
    """Opened snapshots: all of them where they fit, else the ones used last."""

    def __init__(self, open_model: OpenModel, capacity: int | None) -> None:
        self.open_model, self.capacity = open_model, capacity
        self.resident: OrderedDict[int, ReadableModel] = OrderedDict()

    def model(self, snapshot: int) -> ReadableModel:
        """The snapshot's model; the one used longest ago goes when there is no room."""
        if snapshot not in self.resident:
            while self.capacity is not None and len(self.resident) >= self.capacity:
                self.resident.popitem(last=False)
            self.resident[snapshot] = self.open_model(snapshot)
            if self.capacity is None:
                self.capacity = compute_capacity(self.resident[snapshot])
        self.resident.move_to_end(snapshot)
        return self.resident[snapshot]


def compute_capacity(model: ReadableModel) -> int:
    """How many models of this size half of the device's free memory holds, at least one; one where that is unknown."""
    module = getattr(model, "module", None)
    size = sum(parameter.nbytes for parameter in module.parameters()) if isinstance(module, torch.nn.Module) else 0
    if size == 0:
        return 1
    if model.device.type == "cpu":
        known = "SC_AVPHYS_PAGES" in os.sysconf_names
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else 0
    else:
        memory = getattr(torch.get_device_module(model.device), "mem_get_info", None)
        free = memory(model.device)[0] if memory else 0
    return max(1, int(free / 2 / size))


class LiveStream(ShuffledStream):
    """A stream that harvests its blocks when they are wanted.

    Scales and high-norm limits come from the plan's first block, are recorded in `scales.json` and never change after.
    ConfigError where the disk budget does not hold one block.
    """

    def __init__(
        self,
        open_model: OpenModel,
        snapshots: Sequence[Snapshot],
        hook_points: Sequence[HookPoint],
        plan: StreamPlan,
        directory: Path,
        *,
        d_model: int,
        identities: Sequence[str] | None = None,
        dtype: StoredDtype = "bfloat16",
        disk_budget_gb: float = 50.0,
        resident_models: int | None = None,
        model_batch: int = 32,
        pool_shards: int = 2,
        high_norm_multiple: float | None = 10.0,
        drop_high_norm: bool = False,
    ) -> None:
        self.plan, self.d_model, self.pool_shards, self.model_batch = plan, d_model, pool_shards, model_batch
        self.snapshots, self.hook_points = list(snapshots), list(hook_points)
        self.sources = tuple(Source(snapshot, point) for snapshot in snapshots for point in hook_points)
        self.drop_high_norm, self.directory = drop_high_norm, directory
        self.models = ModelRotation(open_model, resident_models)
        identities = identities or [snapshot.label for snapshot in snapshots]
        self.writers = [
            ShardWriter(
                directory / f"source{i:03d}", source, plan, dtype=dtype, identity=identities[i // len(hook_points)]
            )
            for i, source in enumerate(self.sources)
        ]
        for writer in self.writers:
            writer.d_model = d_model
        self.shards = [SourceShards(writer.directory, writer.meta(), plan) for writer in self.writers]
        row_bytes = (TORCH_DTYPES[dtype].itemsize * d_model + 4) * len(self.sources)
        self.capacity = int(disk_budget_gb * 1e9 / (row_bytes * int(plan.counts.max())))
        if self.capacity < min(pool_shards, plan.n_shards):
            needed = row_bytes * int(plan.counts.max()) * min(pool_shards, plan.n_shards) / 1e9
            raise ConfigError(
                f"activations.disk_budget_gb = {disk_budget_gb:g} does not hold one block of {needed:.3g} GB; raise it "
                "or lower tokens_per_shard."
            )
        self.ring: OrderedDict[int, None] = OrderedDict()
        self.loading = threading.Lock()
        self._adopt_ring()
        self.limit, self.mean_norm, self.high_norm = self._first_block(high_norm_multiple)

    @property
    def n_shards(self) -> int:
        """Shards of the plan."""
        return self.plan.n_shards

    @property
    def n_rows(self) -> int:
        """Rows that the corpus keeps; those of high norm, if dropped, are not known before they are harvested."""
        return int(self.plan.kept_counts.sum())

    @property
    def counts(self) -> StreamCounts:
        """Rows of the plan, rows that the corpus keeps, and those of high norm in the first block."""
        return StreamCounts(int(self.plan.counts.sum()), self.n_rows, self.high_norm)

    @property
    def scales(self) -> Float[Tensor, "source"]:
        """sqrt(d_model) / mean norm over the kept rows of the plan's first block."""
        return compute_scales(self.mean_norm, self.d_model)

    def shard_order(self, seed: int, epoch: int) -> Int[np.ndarray, "shard"]:
        """As everywhere, but a run begins with the block that the scales already made necessary."""
        order = super().shard_order(seed, epoch)
        if epoch > 0:
            return order
        return np.concatenate([np.arange(min(self.pool_shards, self.n_shards)), order[order >= self.pool_shards]])

    def load_block(self, shards: Sequence[int]) -> Block:
        """Harvest what of these shards is not in the ring, then read them."""
        # Two iterations may load at a time (each has its own thread); the ring and the models are shared.
        with self.loading:
            self._ensure(shards)
            values = [[source.read(shard) for source in self.shards] for shard in shards]
            norms = [self._norms(shard) for shard in shards]
        keep = np.concatenate([self.plan.keep(shard) for shard in shards])
        if self.drop_high_norm:
            keep &= ~(np.concatenate(norms, axis=1) > self.limit[:, None]).any(axis=0)
        return Block(values, columns_of(self.plan, shards), np.flatnonzero(keep), self.plan.run(self.d_model))

    def _norms(self, shard: int) -> Float[np.ndarray, "source token"]:
        return np.stack([source.read_norms(shard) for source in self.shards])

    def _ensure(self, shards: Sequence[int]) -> None:
        """Bring shards into the ring, making room first."""
        for shard in shards:
            if shard in self.ring:
                self.ring.move_to_end(shard)
        absent = [shard for shard in shards if shard not in self.ring]
        while self.ring and len(self.ring) + len(absent) > self.capacity:
            self._drop(next(iter(self.ring)))
        n_points = len(self.hook_points)
        for place in range(len(self.snapshots) if absent else 0):
            writers = dict(zip(self.hook_points, self.writers[place * n_points : (place + 1) * n_points]))
            harvest_source(
                lambda place=place: self.models.model(place),  # type: ignore[misc]
                self.plan,
                writers,
                model_batch=self.model_batch,
                shards=absent,
            )
        self.ring.update(dict.fromkeys(absent))

    def _drop(self, shard: int) -> None:
        """Delete a shard of all sources, its checksum first, so that half a removal looks like a missing shard."""
        for source in self.shards:
            path = shard_path(source.directory, shard)
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            source.checked.discard(shard)
        self.ring.pop(shard, None)

    def _adopt_ring(self) -> None:
        """Take over the ring as an earlier process left it: what is whole for every source; the rest is removed."""
        missing = {shard for writer in self.writers for shard in writer.missing()}
        for shard in sorted(missing):
            self._drop(shard)
        self.ring.update(dict.fromkeys(shard for shard in range(self.plan.n_shards) if shard not in missing))

    def _first_block(
        self, multiple: float | None
    ) -> tuple[Float[np.ndarray, "source"], Float[np.ndarray, "source"], tuple[int, ...]]:
        """(high-norm limit, mean norm, high-norm rows) from the plan's first block, or as recorded earlier."""
        path = self.directory / SCALES
        made_from = [writer.fingerprint for writer in self.writers] + [multiple, self.drop_high_norm, self.pool_shards]
        fingerprint = content_hash(made_from, length=16)
        recorded = read_json(path) if path.is_file() else {}
        if recorded.get("fingerprint") != fingerprint:
            shards = range(min(self.pool_shards, self.plan.n_shards))
            self._ensure(shards)
            summary = compute_norm_summary(
                [self._norms(shard) for shard in shards],
                [self.plan.keep(shard) for shard in shards],
                multiple=multiple,
                drop_high_norm=self.drop_high_norm,
            )
            limit = [None if np.isinf(value) else float(value) for value in summary.limit]
            recorded = {
                "fingerprint": fingerprint,
                "limit": limit,
                "mean_norm": summary.mean_norm.tolist(),
                "high_norm": list(summary.high_norm),
                "shards": list(shards),
            }
            write_json(path, recorded)
        limits = np.array([np.inf if value is None else value for value in recorded["limit"]])
        return limits, np.array(recorded["mean_norm"]), tuple(int(count) for count in recorded["high_norm"])
