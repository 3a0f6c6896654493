"""From pairs by token to pairs by latent, in bounded memory: an external counting sort.

Count the pairs of every latent; cut the latents into buckets of at most so many pairs; go once through the pairs by
token and put each into its bucket's stretch of a scratch file; sort bucket after bucket in memory. Everything is read
and written twice, in long runs. The sort is stable, so a latent's tokens ascend.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from ontogeny.latents.growing import GrowingTensor
from ontogeny.workspace import disk_errors

NARROW = 1 << 16
"""Latents in a bucket at most: their numbers fit in 16 bits, which numpy sorts by radix, ten times as fast."""
PAIR = np.dtype([("latent", "<i4"), ("token", "<i4"), ("value", "<f4")])


@dataclass(frozen=True)
class PairsByToken:
    """Pairs in order of token; token t's are `ends[t - 1]:ends[t]` (from 0 for the first)."""

    latents: Shaped[np.ndarray, " pair"]
    values: Shaped[np.ndarray, " pair"]
    ends: Int[np.ndarray, " token"]

    def iter_pieces(self, max_pairs: int) -> Iterator[np.ndarray]:
        """All pairs as records of `PAIR`, so many at a time."""
        for start, stop in iter_spans(self.ends, max_pairs):
            pairs = span_of(self.ends, start, stop)
            piece = np.empty(pairs.stop - pairs.start, PAIR)
            piece["latent"], piece["value"] = self.latents[pairs], self.values[pairs]
            counts = np.diff(self.ends[start:stop], prepend=pairs.start)
            piece["token"] = np.repeat(np.arange(start, stop, dtype=np.int32), counts)
            yield piece


def iter_spans(
    ends: Int[np.ndarray, " segment"], max_pairs: int, max_segments: int | None = None
) -> Iterator[tuple[int, int]]:
    """Cut segments into neighbouring spans (start, stop) of at most `max_pairs` pairs, or of one segment."""
    start = 0
    while start < len(ends):
        first = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, first + max_pairs, side="right")), start + 1)
        if max_segments is not None:
            stop = min(stop, start + max_segments)
        yield start, stop
        start = stop


def span_of(ends: Int[np.ndarray, " segment"], start: int, stop: int) -> slice:
    """The pairs of the segments `start:stop`."""
    if stop <= start:
        return slice(0, 0)
    return slice(int(ends[start - 1]) if start else 0, int(ends[stop - 1]))


def write_by_latent(pairs: PairsByToken, n_latents: int, directory: Path, prefix: str, max_pairs: int) -> None:
    """Write `<prefix>.end`, `<prefix>.token` and `<prefix>.value` from pairs in order of token.

    Memory: about 40 bytes times the larger of `max_pairs` and the pairs of the latent that has most.
    """
    counts = np.zeros(n_latents, dtype=np.int64)
    for start in range(0, len(pairs.latents), max_pairs):
        counts += np.bincount(pairs.latents[start : start + max_pairs], minlength=n_latents)
    ends = np.cumsum(counts)
    buckets = list(iter_spans(ends, max_pairs, NARROW))
    files = {
        name: GrowingTensor(directory / f"{prefix}.{name}.safetensors", dtype)
        for name, dtype in (("end", "int64"), ("token", "int32"), ("value", "float32"))
    }
    files["end"].append(ends)
    scratch = directory / f"{prefix}.scratch"
    try:
        for bucket, records in zip(buckets, _iter_buckets(pairs, ends, buckets, scratch, max_pairs), strict=True):
            narrow = (records["latent"] - bucket[0]).astype(np.uint16)
            order = np.argsort(narrow, kind="stable") if bucket[1] - bucket[0] > 1 else slice(None)
            files["token"].append(records["token"][order])
            files["value"].append(records["value"][order])
    finally:
        scratch.unlink(missing_ok=True)
    for file in files.values():
        file.finish()


def _iter_buckets(
    pairs: PairsByToken, ends: np.ndarray, buckets: list[tuple[int, int]], scratch: Path, max_pairs: int
) -> Iterator[np.ndarray]:
    """The records of each bucket in order of token."""
    if len(buckets) == 1:
        yield np.concatenate([np.empty(0, PAIR), *pairs.iter_pieces(max_pairs)])
        return
    bucket_of = np.repeat(np.arange(len(buckets)), [stop - start for start, stop in buckets])
    place = np.array([span_of(ends, start, stop).start for start, stop in buckets])
    with disk_errors(scratch), scratch.open("w+b") as file:
        for piece in pairs.iter_pieces(max_pairs):
            bucket = bucket_of[piece["latent"]]
            sorted_piece = piece[np.argsort(bucket, kind="stable")]
            counts = np.bincount(bucket, minlength=len(buckets))
            stops = np.cumsum(counts)
            for each in np.flatnonzero(counts):
                file.seek(int(place[each]) * PAIR.itemsize)
                file.write(sorted_piece[stops[each] - counts[each] : stops[each]].data)
            place += counts
        file.flush()
        for start, stop in buckets:
            span = span_of(ends, start, stop)
            file.seek(span.start * PAIR.itemsize)
            yield np.fromfile(file, PAIR, span.stop - span.start)
