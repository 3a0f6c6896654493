"""Inputs of an analysis that asks the models: two tiny snapshots on disk, activations, a dictionary, its codes."""

from pathlib import Path

import torch

from interventions.tiny_series import D_MODEL, HOOK_POINT, tiny_corpus, tiny_series
from ontogeny.activations.harvest import harvest_source
from ontogeny.activations.plan import plan_stream
from ontogeny.activations.sharded import OrderedStore, open_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.analyses import AnalysisInputs
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.vocabulary import closed_tokenizer
from ontogeny.types import Source

NAMES = ("step0", "step8")


def tiny_family(folder: Path) -> SnapshotSeries:
    """The two snapshots with a tokenizer of words w0, w1, ... beside them."""
    tiny_series(folder / "family")
    closed_tokenizer([f"w{number}" for number in range(39)]).save_pretrained(folder / "words")
    return open_series(SeriesConfig(folders=str(folder / "family" / "step*"), tokenizer=str(folder / "words")))


def tiny_inputs(folder: Path, n_rows: int = 24, n_latents: int = 30) -> AnalysisInputs:
    """What the pipeline would open; latent 0 is dead."""
    series, corpus = tiny_family(folder), tiny_corpus(n_rows)
    plan = plan_stream(corpus, "held_out", 0, 100, layout="ordered")
    directories = []
    for index, snapshot in enumerate(series.snapshots):
        writer = ShardWriter(folder / "store" / snapshot.label, Source(snapshot, HOOK_POINT), plan, dtype="float32")
        harvest_source(lambda index=index: series.open(index), plan, {HOOK_POINT: writer})  # type: ignore[misc]
        directories.append(writer.directory)
    store = open_stream(directories, plan)
    assert isinstance(store, OrderedStore)
    torch.manual_seed(0)
    config = CrosscoderConfig(n_latents=n_latents, activation={"kind": "topk", "k": 5})
    made = Crosscoder(config, NAMES, d_model=D_MODEL)
    with torch.no_grad():
        for weight in (made.W_enc, made.W_dec):
            weight.normal_()
        made.W_dec.mul_(torch.rand(n_latents, 2, 1) + 0.1)
        made.b_enc[0] = -1e6
    made.set_scales(torch.tensor([0.5, 0.3]))
    writer_of_codes = CodeCacheWriter(folder / "codes", made.eval(), "d1")
    run_pass(made, store, {}, cache=writer_of_codes)
    scratch = folder / "scratch"
    scratch.mkdir()
    return AnalysisInputs(made, corpus, store, series, None, scratch, "cpu", writer_of_codes.finish())
