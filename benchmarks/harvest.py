"""Harvesting to disk against the forward of the blocks that it needs and nothing else: tokens per CPU second."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.random_model import build_model
from benchmarks.timing import Line, ratio, time_interleaved
from ontogeny.activations.harvest import harvest_source
from ontogeny.activations.plan import plan_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint, Snapshot, Source

GOAL = 0.9
MODEL_BATCH = 16
WIDTH = 128
N_LAYERS, READ_LAYER = 6, 3


def compare(d_model: int, n_rows: int, rounds: int) -> Line:
    """Harvest of resid_post.3 of six blocks in bfloat16, against the forward of four blocks alone."""
    tokens = np.random.default_rng(0).integers(1, 2048, size=(n_rows, WIDTH))
    plan = plan_stream(Corpus.from_tokens(tokens), "all", tokens_per_shard=4096)
    model = HookedModel(build_model(d_model, N_LAYERS, 2048, WIDTH))
    floor = build_model(d_model, READ_LAYER + 1, 2048, WIDTH).gpt_neox
    point = HookPoint("resid_post", READ_LAYER)
    source = Source(Snapshot("random"), point)

    def harvest() -> None:
        with tempfile.TemporaryDirectory() as folder:
            writer = ShardWriter(Path(folder), source, plan)
            harvest_source(lambda: model, plan, {point: writer}, model_batch=MODEL_BATCH)

    @torch.inference_mode()
    def forward() -> None:
        for batch in torch.from_numpy(tokens).split(MODEL_BATCH):
            floor(batch, use_cache=False)

    timings = time_interleaved({"harvest": harvest, "forward": forward}, rounds)
    return Line(
        question="harvest",
        case=f"d_model {d_model}, {READ_LAYER + 1} of {N_LAYERS} blocks, {n_rows * WIDTH} tokens, bfloat16 shards",
        measure="tokens/s harvested / tokens/s of the bare truncated forward",
        ratio=ratio(timings["forward"], timings["harvest"]),
        seconds={name: timing.median for name, timing in timings.items()},
        goal=GOAL,
        direction="at_least",
    )


def measure(full: bool) -> list[Line]:
    """The lines of this question."""
    widths = (128, 256, 512) if full else (256,)
    return [compare(d_model, 256 if full else 128, 9 if full else 5) for d_model in widths]
