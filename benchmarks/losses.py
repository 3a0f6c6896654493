"""Losses of all predicted tokens against the bare forward of as many tokens in full rows: tokens per CPU second."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.random_model import build_model
from benchmarks.timing import Line, ratio, time_interleaved
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.losses import BATCH_TOKENS, measure_snapshot_losses
from ontogeny.snapshots.hooks import HookedModel

GOAL = 0.9
WIDTH = 128


def compare(d_model: int, n_layers: int, vocab_size: int, n_rows: int, rounds: int) -> Line:
    """Losses of documents of unequal length, written to disk, against full rows and nothing done with logits."""
    draw = np.random.default_rng(0)
    lengths, total = [], n_rows * WIDTH
    while sum(lengths) < total:
        lengths.append(min(int(draw.integers(16, 2 * WIDTH)), WIDTH, total - sum(lengths)))
    tokens = draw.integers(1, vocab_size, size=total)
    documents = Documents.of(np.split(tokens, np.cumsum(lengths)[:-1]))
    model = HookedModel(build_model(d_model, n_layers, vocab_size, WIDTH))
    rows = torch.from_numpy(tokens).view(n_rows, WIDTH)

    def losses() -> None:
        with tempfile.TemporaryDirectory() as folder:
            measure_snapshot_losses(lambda: model, documents, Path(folder), "random")

    @torch.inference_mode()
    def forward() -> None:
        for batch in rows.split(BATCH_TOKENS // WIDTH):
            model.module(batch, use_cache=False)

    timings = time_interleaved({"losses": losses, "forward": forward}, rounds)
    return Line(
        question="losses",
        case=f"d_model {d_model}, {n_layers} blocks, V {vocab_size:,}, {total:,} tokens in {len(documents)} documents",
        measure="tokens/s measured / tokens/s of the bare forward of full rows",
        ratio=ratio(timings["forward"], timings["losses"]),
        seconds={name: timing.median for name, timing in timings.items()},
        goal=GOAL,
        direction="at_least",
    )


def measure(full: bool) -> list[Line]:
    """The lines of this question."""
    shapes = [(256, 6, 2048), (512, 6, 2048), (256, 4, 50_304)] if full else [(256, 6, 2048)]
    return [compare(*shape, n_rows=1024 if full else 256, rounds=9 if full else 3) for shape in shapes]
