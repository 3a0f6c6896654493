"""Shuffled batches out of a harvested store against reading the same files whole, one after the other.

Wall time, since a thread loads the next shards while batches are gathered; CPU time beside it, which a busy machine
disturbs less. Both sides deliver the same bytes in the dtype in which they lie on disk (int8: decoded).
Sequential means `load_file` of every shard and a copy of its rows into one buffer that is there already, so it pays no
page of memory twice: the fastest way to read that we know. Both start with the page cache as it is (warm after the
first round) and, in the cold case, with the files dropped from it.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.timing import Line, Timing, collect_rounds, ratio
from ontogeny.activations.config import StoredDtype
from ontogeny.activations.plan import plan_stream
from ontogeny.activations.quantize import Quantized, dequantize
from ontogeny.activations.sharded import ShardedStore, open_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint, Snapshot, Source

GOAL = 0.7
WIDTH = 128


@dataclass(frozen=True)
class Case:
    """A store and how it is read."""

    n_sources: int = 4
    d_model: int = 256
    batch_size: int = 4096
    dtype: StoredDtype = "bfloat16"
    rows_per_shard: int = 32768
    n_shards: int = 6
    cold: bool = False

    def __str__(self) -> str:
        files = f"{'cold' if self.cold else 'warm'} shards of {self.rows_per_shard} rows"
        return f"{self.n_sources} sources x {self.d_model}, batch {self.batch_size}, {self.dtype}, {files}"


QUICK = (Case(), Case(cold=True))
FULL = (
    Case(rows_per_shard=4096, n_shards=24),
    Case(rows_per_shard=131072, n_shards=4),
    Case(dtype="float32"),
    Case(dtype="int8"),
    Case(n_sources=1, d_model=512, batch_size=2048),
    Case(n_sources=8, d_model=512, batch_size=2048),
    Case(n_sources=32, d_model=128, batch_size=1024, rows_per_shard=16384),
)


def write_store(folder: Path, case: Case) -> ShardedStore:
    """A store of random rows, as a harvest writes it."""
    tokens = np.zeros((case.n_shards * case.rows_per_shard // WIDTH, WIDTH), dtype=np.int32)
    plan = plan_stream(Corpus.from_tokens(tokens), "all", tokens_per_shard=case.rows_per_shard)
    directories = [folder / f"s{i}" for i in range(case.n_sources)]
    for directory in directories:
        source = Source(Snapshot("random", label=directory.name), HookPoint("resid_post", 0))
        writer = ShardWriter(directory, source, plan, dtype=case.dtype)
        for shard in range(case.n_shards):
            values = torch.randn(case.rows_per_shard, case.d_model)
            writer.write(shard, values, torch.linalg.vector_norm(values, dim=1))
        writer.finish()
    return open_stream(directories, plan)


def drop_from_cache(files: Sequence[Path]) -> None:
    """Ask the system to forget the files' pages, where it can be asked."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_whole(path: Path, out: Tensor) -> None:
    """A shard's rows into memory that is there already."""
    parts = load_file(path)
    values = parts.pop("activations")
    if values.dtype != torch.int8:
        out.copy_(values)
        return
    parts.pop("norms")
    dequantize(Quantized(levels=values, **parts), out)


def compare(case: Case, rounds: int) -> list[Line]:
    """Batches of all rows in shuffled order, against `read_whole` of every shard; by wall time and by CPU time."""
    cpu: dict[str, list[float]] = {"shuffled": [], "sequential": []}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder), case)
        files = sorted(Path(folder).rglob("*.safetensors"))
        out = torch.empty(case.rows_per_shard, case.d_model, dtype=store.load_block([0]).dtype)

        def shuffled() -> None:
            for batch in store.iter_batches(case.batch_size, epochs=1):
                del batch  # as the trainer does: the next one is gathered into the same memory

        def sequential() -> None:
            for path in files:
                read_whole(path, out)

        def clock(name: str, work: Callable[[], None]) -> float:
            if case.cold:
                drop_from_cache(files)
            start, start_cpu = time.perf_counter(), time.process_time()
            work()
            seconds = time.perf_counter() - start
            cpu[name].append(time.process_time() - start_cpu)
            return seconds

        contestants = {"shuffled": shuffled, "sequential": sequential}
        clocks = {name: (lambda n=name, w=work: clock(n, w)) for name, work in contestants.items()}
        # Neither side's copies are spread over threads by torch: that would measure how many cores are idle.
        torch.set_num_threads(1)
        wall = collect_rounds(clocks, rounds)
        torch.set_num_threads(threads)
    spent = {name: Timing(tuple(seconds[-rounds:])) for name, seconds in cpu.items()}
    return [_line(case, "wall", wall, GOAL)] + ([] if case.cold else [_line(case, "CPU", spent, None)])


def _line(case: Case, clock: str, timings: dict[str, Timing], goal: float | None) -> Line:
    return Line(
        question="reads",
        case=str(case),
        measure=f"bytes/s of shuffled batches / bytes/s of whole files in order, {clock} time",
        ratio=ratio(timings["sequential"], timings["shuffled"]),
        seconds={name: timing.median for name, timing in timings.items()},
        goal=goal,
        direction="at_least",
    )


def measure(full: bool) -> list[Line]:
    """The lines of this question."""
    cases = [case for case in (*QUICK, *(FULL if full else ())) if hasattr(os, "posix_fadvise") or not case.cold]
    return [line for case in cases for line in compare(case, 3 if case.cold else 9)]
