"""Shuffled snapshots: orders are uniform and a token's own, nothing is lost, and the scales stay."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ontogeny.activations.memory import MemoryStore
from ontogeny.activations.plan import AppendedRows
from ontogeny.activations.shuffled_snapshots import ShuffledSnapshots, draw_orders
from ontogeny.config import config_identity
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import StoreError
from ontogeny.training.config import TrainingConfig
from ontogeny.training.trainer import train
from ontogeny.types import HookPoint, Snapshot, Source

SIZES = torch.tensor([1.0, 5.0, 0.2])


def stream(n: int = 400) -> MemoryStore:
    x = torch.randn(n, 3, 8, generator=torch.Generator().manual_seed(0)) * SIZES[:, None]
    return MemoryStore.from_tensors(x, ["a", "b", "c"])


def by_row(view: ShuffledSnapshots | MemoryStore, batch_size: int, seed: int = 0) -> torch.Tensor:
    """[row source d_model] in the order of rows, whatever the batches."""
    out = torch.zeros(view.n_rows, 3, view.d_model)
    for batch in view.iter_batches(batch_size, seed=seed, epochs=1):
        out[torch.from_numpy(np.array(batch.row))] = batch.x
    return out


def test_orders_are_uniform_and_unrelated() -> None:
    row, position = np.divmod(np.arange(60_000), 100)
    orders = draw_orders(row, position, 3, seed=1)
    counts = Counter(map(tuple, orders.tolist()))
    assert set(counts) == set(itertools.permutations(range(3)))
    assert max(abs(count - 10_000) for count in counts.values()) < 400
    same = (orders[1:] == orders[:-1]).all(axis=1).mean()
    assert abs(same - 1 / 6) < 0.01
    again = (draw_orders(row, position, 3, seed=2) == orders).all(axis=1).mean()
    assert abs(again - 1 / 6) < 0.01


def test_a_token_keeps_its_order_whatever_the_batches() -> None:
    view = ShuffledSnapshots(stream(), seed=3)
    expected = by_row(view, 400)
    for batch_size, seed in ((7, 0), (64, 5)):
        assert torch.equal(by_row(view, batch_size, seed), expected)
    batches = view.iter_batches(50)
    first = next(batches)
    resumed = next(view.iter_batches(50, cursor=first.cursor))
    assert torch.equal(resumed.x, next(batches).x)


def test_nothing_is_lost_and_scales_stay() -> None:
    base, view = stream(), ShuffledSnapshots(stream(), seed=3)
    scales = view.scales
    assert torch.equal(scales, base.scales)
    before, after = by_row(base, 64) * scales[:, None], by_row(view, 64) * scales[:, None]
    torch.testing.assert_close(before.sum(1), after.sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(before.norm(dim=2).sort(1).values, after.norm(dim=2).sort(1).values)
    moved = (before - after).abs().amax(dim=(1, 2)) > 1e-4
    assert abs(float(moved.float().mean()) - 5 / 6) < 0.06
    # The mean norm of every source is still what its scale says, to the error of a mean over 400 rows.
    torch.testing.assert_close(after.norm(dim=2).mean(0), torch.full((3,), 8.0).sqrt(), rtol=0.05, atol=0)


def test_hook_points_of_a_snapshot_move_together() -> None:
    points = [HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.1")]
    sources = [Source(Snapshot(name, label=name), point) for name in ("a", "b") for point in points]
    values = [torch.full((50, 4), float(place // 2 + 1)) for place in range(4)]
    view = ShuffledSnapshots(MemoryStore(sources, values, AppendedRows([50])), seed=0)
    x = next(view.iter_batches(50)).x / torch.tensor([1.0, 1.0, 2.0, 2.0])[:, None]
    assert torch.equal(x[:, 0], x[:, 1]) and torch.equal(x[:, 2], x[:, 3])
    assert x.dtype == torch.float32


def test_what_cannot_be_shuffled_is_refused() -> None:
    with pytest.raises(StoreError, match="one snapshot"):
        ShuffledSnapshots(MemoryStore.from_tensors(torch.randn(9, 1, 4), ["only"]), seed=0)
    points = ("resid_post.0", "resid_post.0", "resid_post.1")
    sources = [
        Source(Snapshot(name, label=name), HookPoint.parse(point)) for name, point in zip("aba", points, strict=True)
    ]
    uneven = MemoryStore(sources, [torch.randn(9, 4)] * 3, AppendedRows([9]))
    with pytest.raises(StoreError, match="not read in the same snapshots"):
        ShuffledSnapshots(uneven, seed=0)


def test_only_a_shuffled_training_has_another_id() -> None:
    assert "shuffle_snapshots" not in config_identity(TrainingConfig(steps=1))
    assert config_identity(TrainingConfig(steps=1, shuffle_snapshots=True))["shuffle_snapshots"] is True


def test_training_reads_the_shuffled_view(tmp_path: Path) -> None:
    weights = []
    for name, store, shuffled in (
        ("plain", stream(), False),
        ("asked", stream(), True),
        ("given", ShuffledSnapshots(stream(), seed=4), False),
    ):
        made = Crosscoder(CrosscoderConfig(n_latents=8, activation={"kind": "relu"}), ["a", "b", "c"], d_model=8)
        config = TrainingConfig(steps=3, batch_size=64, seed=4, initial_rows=64, shuffle_snapshots=shuffled)
        train(store, made, config, tmp_path / name)
        weights.append(made.W_dec.detach().clone())
    plain, asked, given = weights
    assert torch.equal(asked, given) and not torch.equal(asked, plain)
