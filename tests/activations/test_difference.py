from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.activation_streams import ActivationStreamContract
from ontogeny.activations.config import ActivationsConfig
from ontogeny.activations.difference import open_difference
from ontogeny.activations.memory import MemoryStore
from ontogeny.activations.plan import Layout, Split, plan_stream
from ontogeny.activations.sharded import OrderedStore, ShardedStore, open_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.errors import StoreError
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint, Snapshot, Source

WIDTH, D_MODEL = 20, 6


def write(folder: Path, split: Split = "all", layout: Layout = "shuffled", dtype: str = "float32") -> ShardedStore:
    """Three snapshots at two hook points along one plan; every number is a function of its source and row."""
    corpus = Corpus.from_tokens(np.arange(12 * WIDTH, dtype=np.int32).reshape(12, WIDTH), exclude_first=1)
    plan = plan_stream(corpus, split, seed=3, tokens_per_shard=4 * WIDTH, layout=layout)
    directories = []
    for number, label in enumerate(("base", "middle", "chat")):
        for layer in (0, 1):
            directory = folder / f"{label}{layer}"
            writer = ShardWriter(
                directory, Source(Snapshot(label, label=label), HookPoint("resid_post", layer)), plan, dtype=dtype
            )
            for shard in range(plan.n_shards):
                generator = torch.Generator().manual_seed(100 * number + 10 * layer + shard)
                values = torch.randn(int(plan.counts[shard]), D_MODEL, generator=generator)
                writer.write(shard, values, values.norm(dim=1))
            writer.finish()
            directories.append(directory)
    return open_stream(directories, plan)  # fmt: skip


class TestDifferenceOfAShardedStore(ActivationStreamContract):
    def open(self, folder: Path) -> ShardedStore:
        view = open_difference(write(folder), "base", "chat")
        assert isinstance(view, ShardedStore)
        return view


class TestDifferenceInMemory(ActivationStreamContract):
    def open(self, folder: Path) -> MemoryStore:
        x = torch.randn(150, 3, D_MODEL, generator=torch.Generator().manual_seed(0))
        view = open_difference(MemoryStore.from_tensors(x, ["base", "middle", "chat"]), "base", "chat")
        assert isinstance(view, MemoryStore)
        return view


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_rows_are_the_second_less_the_first_in_float32(tmp_path: Path, dtype: str) -> None:
    store = write(tmp_path, dtype=dtype)
    view = open_difference(store, "base", "chat")
    assert [source.name for source in view.sources] == ["chat-base:resid_post.0", "chat-base:resid_post.1"]
    rows = np.array([0, 7, 100, 3])
    whole = store.read_rows(rows)
    expected = whole[:, [4, 5]] - whole[:, [0, 1]]
    assert torch.equal(view.read_rows(rows), expected)
    by_place = {}
    for batch in store.iter_batches(16, seed=1, epochs=1):
        by_place |= {(r, p): x.float() for r, p, x in zip(batch.row.tolist(), batch.position.tolist(), batch.x)}
    for batch in view.iter_batches(16, seed=1, epochs=1):
        for row, position, x in zip(batch.row.tolist(), batch.position.tolist(), batch.x):
            there = by_place[row, position]
            assert torch.equal(x, there[[4, 5]] - there[[0, 1]])


def test_scales_are_those_of_the_difference(tmp_path: Path) -> None:
    view = open_difference(write(tmp_path), "middle", "chat")
    x = torch.cat([batch.x for batch in view.iter_batches(64, epochs=1)]).double()
    expected = D_MODEL**0.5 / x.norm(dim=2).mean(0)
    torch.testing.assert_close(view.scales.double(), expected, rtol=1e-5, atol=0)


def test_the_ordered_layout_stays_ordered(tmp_path: Path) -> None:
    store = write(tmp_path, layout="ordered")
    view = open_difference(store, "base", "chat")
    assert isinstance(view, OrderedStore) and isinstance(store, OrderedStore)
    rows = np.array([2, 5])
    whole = store.read(rows)
    assert torch.equal(view.read(rows), whole[:, :, [4, 5]] - whole[:, :, [0, 1]])


def test_a_snapshot_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'instruct', which is not among base, middle, chat"):
        open_difference(write(tmp_path), "base", "instruct")


def test_a_live_stream_has_no_difference() -> None:
    with pytest.raises(ValueError, match="needs stored activations"):
        ActivationsConfig(hook_points=["resid_post.1"], store="live", difference=["base", "chat"])
    with pytest.raises(ValueError, match="twice"):
        ActivationsConfig(hook_points=["resid_post.1"], difference=["base", "base"])
