"""The one pass: held-out tokens in corpus order, encoded once (or read from a code cache), handed to all that ride.

A pass that is cut off goes on from what it saved in its scratch folder: the riders' sums and the cache's place. Batches
begin and end at the same tokens either way, so the results are the same, bit for bit.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.batches import Block, bits
from ontogeny.activations.memory import MemoryStore
from ontogeny.activations.sharded import OrderedStore
from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import StoreError
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.pass_state import PassState


def run_pass(
    dictionary: Crosscoder,
    store: OrderedStore | MemoryStore,
    accumulators: Mapping[str, Accumulator],
    *,
    batch_size: int = 2_048,
    max_tokens: int | None = None,
    device: str = "cpu",
    cache: CodeCacheWriter | None = None,
    codes: CodeCache | None = None,
    scratch: Path | None = None,
    save_seconds: float = 60.0,
    part: tuple[int, int] = (0, 1),
    on_batch: Callable[[int], None] = lambda n_tokens: None,
) -> int:
    """Update every accumulator with the kept tokens of a store in corpus order; returns how many tokens there were.

    cache: a writer that takes the codes (to `finish` it is the caller's). codes: a cache to take them from in place of
    encoding; activations are then read only where a rider needs them. scratch: a folder of this pass alone, in which it
    is saved every `save_seconds` and at its end, and from which it goes on. part: (i, n) for the i-th of n parts,
    cut between shards; the riders of all parts are merged in order. StoreError where `codes` are another dictionary's
    or of fewer tokens, and where the store keeps no token.
    """
    # Half-precision weights are widened: codes in float32 come back from a cache as they were.
    dictionary = (dictionary.float() if dictionary.W_enc.dtype.itemsize < 4 else dictionary).to(device).eval()
    start, stop = _span_of(store, part, max_tokens)
    if codes is not None:
        codes.check_made_by(dictionary)
        if codes.n_tokens < stop:
            raise StoreError(f"{codes.directory} holds {codes.n_tokens:,} of {stop:,} tokens; set codes.max_tokens so.")
    reader = _BatchReader(dictionary, store, codes, any(each.needs_activations for each in accumulators.values()))
    identity = {"batch_size": batch_size, "span": [start, stop], "store": store.index.fingerprint}
    state = PassState(scratch, identity, dictionary, accumulators, cache)
    done, saved = state.load(), time.monotonic()
    with torch.no_grad():
        for shard, first, rows in _iter_pieces(store, batch_size, start + done, stop):
            batch = reader.read(shard, first, rows)
            for each in accumulators.values():
                each.update(batch)
            if cache is not None:
                cache.append(batch.codes, batch.columns)
            done += batch.n_tokens
            on_batch(done)
            if time.monotonic() - saved >= save_seconds or start + done == stop:
                state.save(done)
                saved = time.monotonic()
    return done


def _span_of(store: OrderedStore | MemoryStore, part: tuple[int, int], max_tokens: int | None) -> tuple[int, int]:
    """The first and the last-but-one token of a part of the pass, in kept tokens of the store."""
    ends = np.concatenate([[0], np.cumsum(store.summary.kept_counts)])
    if ends[-1] == 0:
        raise StoreError("no row of this stream is kept; loosen the corpus's masks or keep rows of high norm.")
    index, n_parts = part
    assert 0 <= index < n_parts, f"there is no part {index} of {n_parts}"
    limit = int(ends[-1]) if max_tokens is None else min(max_tokens, int(ends[-1]))
    start, stop = (int(ends[each * store.n_shards // n_parts]) for each in (index, index + 1))
    return min(start, limit), min(stop, limit)


def _iter_pieces(
    store: OrderedStore | MemoryStore, batch_size: int, start: int, stop: int
) -> Iterator[tuple[int, int, slice]]:
    """(shard, first token of the pass, which of the shard's kept rows) of every batch; one ends where a shard ends.

    Boundaries lie at multiples of `batch_size` from a shard's first token; `start` is one of them.
    """
    first = 0
    for shard, count in enumerate(store.summary.kept_counts):
        for begin in range(0, int(count), batch_size):
            end = min(begin + batch_size, int(count), stop - first)
            if start <= first + begin < stop:
                yield shard, first + begin, slice(begin, end)
        first += int(count)


@dataclass
class _BatchReader:
    """Makes batches: codes encoded or from a cache, activations only where they are used."""

    dictionary: Crosscoder
    store: OrderedStore | MemoryStore
    cached: CodeCache | None
    wanted: bool

    def __post_init__(self) -> None:
        self.reads = source_positions(self.store.sources, self.dictionary.sources_in)
        self.writes = source_positions(self.store.sources, self.dictionary.sources_out)
        self.shard = -1
        self.block: Block | None = None
        self.columns: TokenColumns | None = None

    def read(self, shard: int, first: int, rows: slice) -> LatentBatch:
        """The batch of some kept rows of a shard; `first` counts its first token along the pass."""
        dictionary, device = self.dictionary, self.dictionary.W_enc.device
        if self.cached is not None:
            tokens = slice(first, first + rows.stop - rows.start)
            codes, columns = self.cached.codes(tokens.start, tokens.stop, device), self.cached.columns_of(tokens)
            if not self.wanted:
                return LatentBatch(dictionary, codes, columns, first)
        block = self._load(shard)
        assert self.columns is not None
        places = block.kept[rows]
        raw = _take(block, places).to(device)
        x = dictionary.normalise(select_sources(raw, self.reads))
        if self.cached is None:
            codes, columns = dictionary.encode_normalised(x), self.columns.take(places)
        codes = codes.sparse() if codes.is_dense else codes
        if not self.wanted:
            return LatentBatch(dictionary, codes, columns, first)
        # Normalising is a tenth of encoding: once is enough where both are the same.
        same = dictionary.targets_are_inputs
        target = x if same else dictionary.normalise_target(select_sources(raw, self.writes))
        return LatentBatch(dictionary, codes, columns, first, target, None if dictionary.W_skip is None else x)

    def _load(self, shard: int) -> Block:
        if self.shard != shard or self.block is None:
            self.shard, self.block = shard, self.store.load_block([shard])
            index = self.store.index
            # A store in memory is one shard, of however many appended parts.
            parts = [shard] if isinstance(self.store, OrderedStore) else range(len(index.counts))
            self.columns = TokenColumns.concatenate([index.columns(part) for part in parts])
        return self.block


def _take(block: Block, places: Int[np.ndarray, " token"]) -> Float[Tensor, "token source d_model"]:
    """Rows of a block of one shard, raw and in their stored dtype; each source's rows lie together."""
    (arrays,) = block.arrays
    out = torch.empty(len(arrays), len(places), arrays[0].shape[1], dtype=block.dtype)
    for values, target in zip(arrays, bits(out), strict=True):
        # As batches are gathered elsewhere: numpy's take into a given array is several times torch's bf16 indexing.
        values.take(places, axis=0, out=target, mode="clip")
    return out.transpose(0, 1)
