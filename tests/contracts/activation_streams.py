"""What every ActivationStream promises; each backend's test class inherits these and supplies `open`."""

import gc
import itertools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from ontogeny.activations.batches import Block, ShuffledStream
from ontogeny.activations.stream import ActivationBatch, ActivationStream, Cursor


def same(left: ActivationBatch, right: ActivationBatch) -> bool:
    """Equal to the last bit, cursors too."""
    columns = all(np.array_equal(getattr(left, name), getattr(right, name)) for name in ("token", "row", "position"))
    return torch.equal(left.x, right.x) and columns and left.cursor == right.cursor


class ActivationStreamContract(ABC):
    dtype = torch.float32

    @abstractmethod
    def open(self, folder: Path) -> ShuffledStream:
        """The backend, over some 100 to 300 kept rows of at least two sources."""

    @pytest.fixture
    def stream(self, tmp_path: Path) -> ShuffledStream:
        return self.open(tmp_path)

    def test_is_a_stream(self, stream: ShuffledStream) -> None:
        assert isinstance(stream, ActivationStream)
        assert stream.scales.shape == (len(stream.sources),)
        assert stream.counts.kept == stream.n_rows > 0

    def test_an_epoch_delivers_every_kept_row_once(self, stream: ShuffledStream) -> None:
        batches = list(stream.iter_batches(32, epochs=1))
        places = [pair for batch in batches for pair in zip(batch.row.tolist(), batch.position.tolist())]
        assert len(places) == len(set(places)) == stream.n_rows
        assert {len(batch.x) for batch in batches[:-1]} == {32}

    def test_batches_keep_the_dtype_and_lie_source_by_source(self, stream: ShuffledStream) -> None:
        x = next(stream.iter_batches(16)).x
        assert x.dtype == self.dtype and x.transpose(0, 1).is_contiguous()
        assert x.shape == (16, len(stream.sources), stream.d_model)

    def test_a_batch_stays_as_it_was_delivered(self, stream: ShuffledStream) -> None:
        batches = stream.iter_batches(16, epochs=3)
        first = next(batches)
        copy = first.x.clone()
        for _ in batches:
            pass
        assert torch.equal(first.x, copy)

    def test_a_batch_kept_does_not_keep_the_shards(self, stream: ShuffledStream) -> None:
        blocks: list[weakref.ref[object]] = []
        load_block = stream.load_block

        def load(shards: Sequence[int]) -> Block:
            block = load_block(shards)
            blocks.append(weakref.ref(block))
            return block

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "load_block", load)
            batches = list(stream.iter_batches(32, epochs=1))
        gc.collect()
        assert blocks and not any(block() for block in blocks)
        assert {len(batch.token) for batch in batches[:-1]} == {32}

    def test_the_seed_decides_the_order(self, stream: ShuffledStream) -> None:
        first, again, other = (next(stream.iter_batches(16, seed=seed)) for seed in (3, 3, 4))
        assert same(first, again)
        assert not torch.equal(first.x, other.x)

    def test_epochs_differ_in_order_not_in_rows(self, stream: ShuffledStream) -> None:
        batches = list(stream.iter_batches(32, epochs=2))
        first, second = batches[: len(batches) // 2], batches[len(batches) // 2 :]
        assert not torch.equal(first[0].x, second[0].x)
        sums = [torch.cat([batch.x for batch in epoch]).double().sum(0) for epoch in (first, second)]
        torch.testing.assert_close(sums[0], sums[1])

    @pytest.mark.parametrize("batch_size", [1, 7, 32])
    def test_resumes_after_any_batch(self, stream: ShuffledStream, batch_size: int) -> None:
        uninterrupted = list(itertools.islice(stream.iter_batches(batch_size, seed=5, epochs=2), 60))
        for cut in range(0, len(uninterrupted), 7):
            cursor = Cursor.from_json(uninterrupted[cut].cursor.to_json())
            resumed = itertools.islice(stream.iter_batches(batch_size, seed=5, cursor=cursor, epochs=2), 12)
            for left, right in zip(uninterrupted[cut + 1 :], resumed):
                assert same(left, right)

    def test_a_new_process_sees_the_same_batches(self, stream: ShuffledStream, tmp_path: Path) -> None:
        first = list(stream.iter_batches(16, epochs=1))
        for left, right in zip(first, self.open(tmp_path).iter_batches(16, epochs=1), strict=True):
            assert same(left, right)

    def test_serves_interleaved_iterations(self, stream: ShuffledStream) -> None:
        alone = list(stream.iter_batches(16, seed=1, epochs=1))
        left, right = (stream.iter_batches(16, seed=seed, epochs=1) for seed in (1, 2))
        for expected, (found, _) in zip(alone, zip(left, right, strict=True), strict=True):
            assert same(expected, found)

    def test_endless_batches_are_full(self, stream: ShuffledStream) -> None:
        sizes = [len(batch.x) for batch in itertools.islice(stream.iter_batches(33), 40)]
        assert set(sizes) == {33}

    def test_scales_give_mean_norm_sqrt_d(self, stream: ShuffledStream) -> None:
        x = torch.cat([batch.x for batch in stream.iter_batches(64, epochs=1)]).double()
        mean = (x * stream.scales.double()[:, None]).norm(dim=-1).mean(dim=0)
        expected = torch.full_like(mean, stream.d_model**0.5)
        torch.testing.assert_close(mean, expected, rtol=self.scale_tolerance, atol=0)

    scale_tolerance = 1e-6
