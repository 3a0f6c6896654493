import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from activations.corpora import random_corpus
from activations.models import POINTS, TinyModel, source
from contracts.activation_streams import ActivationStreamContract
from ontogeny.activations.config import StoredDtype
from ontogeny.activations.harvest import harvest_source
from ontogeny.activations.plan import StreamPlan, plan_stream
from ontogeny.activations.sharded import OrderedStore, ShardedStore, open_stream
from ontogeny.activations.shards import ShardWriter, map_activations, shard_path
from ontogeny.activations.stream import ActivationStore
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import StoreError


def harvest(
    folder: Path, plan: StreamPlan, seeds: tuple[int, ...] = (0, 1, 2), dtype: StoredDtype = "float32"
) -> list[Path]:
    """Harvest some tiny models; the directories of their sources."""
    directories = []
    for seed in seeds:
        writer = ShardWriter(folder / f"s{seed}", source(f"s{seed}"), plan, dtype=dtype)
        harvest_source(lambda seed=seed: TinyModel(seed), plan, {POINTS[0]: writer}, model_batch=3)
        directories.append(writer.directory)
    return directories


class TestFloat32(ActivationStreamContract):
    def open(self, folder: Path) -> ShardedStore:
        plan = plan_stream(random_corpus(40), tokens_per_shard=40)
        return open_stream(harvest(folder, plan), plan)


class TestBfloat16(ActivationStreamContract):
    dtype = torch.bfloat16
    scale_tolerance = 1e-3

    def open(self, folder: Path) -> ShardedStore:
        plan = plan_stream(random_corpus(40), tokens_per_shard=40)
        return open_stream(harvest(folder, plan, dtype="bfloat16"), plan, pool_shards=3)


class TestInt8(ActivationStreamContract):
    scale_tolerance = 2e-3

    def open(self, folder: Path) -> ShardedStore:
        plan = plan_stream(random_corpus(40), tokens_per_shard=40)
        return open_stream(harvest(folder, plan, dtype="int8"), plan)


class TestAppended(ActivationStreamContract):
    def open(self, folder: Path) -> ShardedStore:
        store = ShardedStore.create(folder / "own", [source("a"), source("b")], d_model=8)
        if store.n_shards == 0:
            for part in torch.randn(150, 2, 8, generator=torch.Generator().manual_seed(1)).split(40):
                store.append(part)
        return store

    def test_an_epoch_delivers_every_kept_row_once(self, stream: ShardedStore) -> None:  # type: ignore[override]
        rows = np.concatenate([batch.row for batch in stream.iter_batches(32, epochs=1)])
        assert sorted(rows.tolist()) == list(range(150))

    def test_reads_any_rows(self, stream: ShardedStore) -> None:
        assert isinstance(stream, ActivationStore)
        x = torch.randn(150, 2, 8, generator=torch.Generator().manual_seed(1))
        assert torch.equal(stream.read_rows(np.array([149, 0, 40, 39])), x[[149, 0, 40, 39]])
        with pytest.raises(StoreError, match="rows 0 to 149"):
            stream.read_rows(np.array([150]))


def test_batches_mix_shards_and_all_rows_come(tmp_path: Path) -> None:
    # The regression that a peer's buffer has: after its first fill, the same few token rows come again and again.
    corpus = random_corpus(60, held_out=0, exclude_first=0)
    plan = plan_stream(corpus, tokens_per_shard=40)
    stream = open_stream(harvest(tmp_path, plan, (0,)), plan)
    batches = list(stream.iter_batches(24, epochs=1))
    assert len({int(row) for batch in batches for row in batch.row}) == 60
    assert min(len(set(batch.row.tolist())) for batch in batches[:-1]) > plan.rows_per_shard


def test_a_dictionary_makes_the_same_of_stored_rows_as_of_float32_ones(tmp_path: Path) -> None:
    plan = plan_stream(random_corpus(40), tokens_per_shard=40)
    stream = open_stream(harvest(tmp_path, plan, dtype="bfloat16"), plan)
    x = next(stream.iter_batches(64)).x
    assert x.dtype == torch.bfloat16
    crosscoder = Crosscoder(
        CrosscoderConfig(n_latents=16, activation={"kind": "relu"}), ["s0", "s1", "s2"], d_model=stream.d_model
    )
    crosscoder.set_scales(stream.scales)
    plain = x.to(torch.float32).contiguous()
    assert crosscoder.normalise(x).is_contiguous()
    for mine, theirs in zip(crosscoder.loss_terms(x).values(), crosscoder.loss_terms(plain).values(), strict=True):
        assert torch.equal(mine, theirs)


def test_rows_written_shuffled_stay_in_runs_and_others_do_not(tmp_path: Path) -> None:
    corpus = random_corpus(600, held_out=0, exclude_first=0)
    shuffled, ordered = (plan_stream(corpus, "all", tokens_per_shard=10**6, layout=x) for x in ("shuffled", "ordered"))
    run = shuffled.run(8)
    assert (run, ordered.run(8)) == (int(shuffled.counts[0]) // 128, 1)
    assert (run > 1, shuffled.run(32768 // 2), shuffled.run(10**6)) == (True, 2, 1)
    stream = open_stream(harvest(tmp_path, shuffled, (0,)), shuffled)
    columns = stream.index.columns(0)
    written = {place: i for i, place in enumerate(zip(columns.row.tolist(), columns.position.tolist()))}
    epochs: list[list[np.ndarray]] = [[], []]
    for batch in stream.iter_batches(300, epochs=2):
        places = [written[pair] for pair in zip(batch.row.tolist(), batch.position.tolist())]
        epochs[batch.cursor.epoch - (batch.cursor.batch == 0)].append(np.array(places))
    for epoch in epochs:
        assert sorted(np.concatenate(epoch).tolist()) == list(range(len(written)))
        steps = np.concatenate([np.diff(places) for places in epoch])
        # Ascending (but for the one place where two sorted groups meet), and few steps lead from run to run.
        assert (steps < 0).sum() <= len(epoch)
        assert (steps == 1).mean() == pytest.approx(1 - 1 / run, abs=0.04)
    joints = [set(np.concatenate([p[1:][np.diff(p) != 1] % run for p in e[:5]]).tolist()) for e in epochs]
    assert joints[0] != joints[1], "runs begin elsewhere in the next epoch"


def test_a_source_comes_and_goes_without_touching_the_others(tmp_path: Path) -> None:
    plan = plan_stream(random_corpus(40), tokens_per_shard=40)
    directories = harvest(tmp_path, plan)
    before = {path: path.stat().st_mtime_ns for path in directories[0].iterdir()}
    two, three = open_stream(directories[:2], plan), open_stream(directories, plan)
    for left, right in zip(two.iter_batches(16, epochs=1), three.iter_batches(16, epochs=1), strict=True):
        assert torch.equal(left.x, right.x[:, :2])
        assert left.cursor == right.cursor
    assert before == {path: path.stat().st_mtime_ns for path in directories[0].iterdir()}


@pytest.mark.parametrize("dtype,tolerance", [("float32", 0.0), ("bfloat16", 2**-8), ("int8", 2**-7)])
def test_ordered_rows_are_the_models(tmp_path: Path, dtype: StoredDtype, tolerance: float) -> None:
    corpus = random_corpus(20, held_out=7)
    plan = plan_stream(corpus, "held_out", tokens_per_shard=16, layout="ordered")
    store = open_stream(harvest(tmp_path, plan, dtype=dtype), plan)
    assert isinstance(store, OrderedStore)
    rows = np.array([19, 13, 16])
    read = store.read(rows)
    for place, row in enumerate(rows):
        expected = TinyModel(1).read(torch.from_numpy(np.array(corpus.tokens[[row]], dtype=np.int64)), [POINTS[0]])
        occupied = torch.from_numpy(corpus.document[row] >= 0)
        difference = read[place, occupied, 1] - expected[POINTS[0]][0, occupied]
        assert difference.abs().max() <= tolerance * expected[POINTS[0]].abs().max() + 1e-6
        assert (read[place, ~occupied] == 0).all()
    with pytest.raises(StoreError, match="corpus row 0 is not in this held_out"):
        store.read(np.array([0]))
    with pytest.raises(StoreError, match="training rows only"):
        _ = store.scales


def test_high_norm_rows_stay_on_disk_and_leave_training(tmp_path: Path) -> None:
    corpus = random_corpus(40, exclude_first=0)
    plan = plan_stream(corpus, tokens_per_shard=40)
    loud = TinyModel(1)
    loud.embedding[7] *= 1000
    writers = {name: ShardWriter(tmp_path / name, source(name), plan) for name in ("quiet", "loud")}
    harvest_source(lambda: TinyModel(0), plan, {POINTS[0]: writers["quiet"]})
    harvest_source(lambda: loud, plan, {POINTS[0]: writers["loud"]})
    folders = [tmp_path / "quiet", tmp_path / "loud"]
    kept, dropped = (open_stream(folders, plan, drop_high_norm=drop) for drop in (False, True))
    assert kept.counts.high_norm == dropped.counts.high_norm
    assert kept.counts.high_norm[0] == 0 < kept.counts.high_norm[1]
    assert dropped.n_rows == kept.n_rows - kept.counts.high_norm[1]
    assert dropped.counts.rows == kept.counts.rows == plan.counts.sum()
    x = torch.cat([batch.x for batch in dropped.iter_batches(50, epochs=1)])
    assert x[:, 1].norm(dim=-1).max() < 10 * kept.summary.limit[1]
    assert dropped.scales[0] != kept.scales[0]


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "altered":
        data[-3] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.parametrize("kind,message", [("torn", "torn"), ("altered", "altered"), ("gone", "missing")])
def test_a_damaged_shard_is_named_and_redone_alone(tmp_path: Path, kind: str, message: str) -> None:
    plan = plan_stream(random_corpus(40), tokens_per_shard=40)
    directories = harvest(tmp_path, plan)
    original = {path: path.read_bytes() for path in directories[1].iterdir()}
    damage(directories[1] / "000002.safetensors", kind)
    with pytest.raises(StoreError, match=rf"s1/000002.safetensors .*{message}.*ontogeny harvest"):
        list(open_stream(directories, plan).iter_batches(16, epochs=1))
    written = {path: path.stat().st_mtime_ns for path in directories[1].glob("*.safetensors")}
    harvest(tmp_path, plan)
    assert original == {path: path.read_bytes() for path in directories[1].iterdir()}
    touched = [p.name for p, at in written.items() if p.stat().st_mtime_ns != at and p.name != "000002.safetensors"]
    assert touched == []


def test_another_token_stream_is_refused(tmp_path: Path) -> None:
    plan, other = (plan_stream(random_corpus(40), seed=seed, tokens_per_shard=40) for seed in (0, 1))
    directories = harvest(tmp_path, plan)
    with pytest.raises(StoreError, match="another token stream"):
        open_stream(directories, other)
    with pytest.raises(StoreError, match="no finished store"):
        open_stream([tmp_path / "nothing"], plan)


def test_maps_without_the_systems_help_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_stream(random_corpus(40), tokens_per_shard=40)
    directory = harvest(tmp_path, plan, (0,), "bfloat16")[0]
    populated = map_activations(shard_path(directory, 0))
    monkeypatch.setattr(sys, "platform", "elsewhere")
    assert torch.equal(map_activations(shard_path(directory, 0)), populated)


def test_a_batch_may_be_changed_and_the_file_stays(tmp_path: Path) -> None:
    plan = plan_stream(random_corpus(40), tokens_per_shard=40)
    directory = harvest(tmp_path, plan, (0,))[0]
    before = shard_path(directory, 0).read_bytes()
    map_activations(shard_path(directory, 0)).zero_()
    assert shard_path(directory, 0).read_bytes() == before
