"""A dictionary whose failings are known: what the data hold of each latent in source 0, and what its decoder says.

Codes are read off the last source. Every latent has a direction of its own; in source 0, by latent:

0 dead          never fires
1 shared        the data and the decoder have it
2 only          neither has it
3 shrunk        the data have it, the decoder is small: complete shrinkage
4 decoupled     the data have nothing to explain, the decoder is small, yet latent 5 writes its direction
5 writer        fires with latent 4, and there writes latent 4's direction too (the data have that sum)
6 turned        the data and the decoder have it in another direction
7 first only    only source 0 (and 1) have it: base-only
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analyses.small_inputs import inputs
from latents.small import corpus
from ontogeny.activations.plan import plan_stream
from ontogeny.activations.sharded import OrderedStore, open_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.analyses import Analysis, AnalysisInputs
from ontogeny.config import Config
from ontogeny.dictionaries.activation_functions.batchtopk import BatchTopK
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.results import Result, load_result, save_result
from ontogeny.types import HookPoint, Snapshot, Source

D_MODEL, N_LATENTS = 24, 8
SHARED, ONLY, SHRUNK, DECOUPLED, WRITER, TURNED, FIRST_ONLY = range(1, 8)
SMALL = 0.05
OTHER_WAY = 12


def make_dictionary(names: tuple[str, ...]) -> Crosscoder:
    config = CrosscoderConfig.model_validate(
        {"n_latents": N_LATENTS, "activation": {"kind": "batchtopk", "k": 2}, "aux_k": None}
    )
    made = Crosscoder(config, names, d_model=D_MODEL)
    axes = torch.eye(D_MODEL)
    with torch.no_grad():
        made.W_enc.zero_()
        made.b_enc.zero_()
        made.W_dec.zero_()
        for latent in range(N_LATENTS):
            made.W_enc[latent, 0 if latent == FIRST_ONLY else -1] = axes[latent]
            made.W_dec[latent] = axes[latent]
        made.b_enc[0] = -1e6
        first, last = 0, len(names) - 1
        for latent in (ONLY, SHRUNK, DECOUPLED):
            made.W_dec[latent, first] *= SMALL
        made.W_dec[WRITER, first] += 0.8 * axes[DECOUPLED]
        made.W_dec[TURNED, first] = axes[OTHER_WAY]
        made.W_dec[FIRST_ONLY, last] *= SMALL
        assert isinstance(made.activation, BatchTopK)
        made.activation.threshold.fill_(0.5)
    return made.eval()


def make_activations(n_tokens: int, n_sources: int, seed: int = 0) -> Tensor:
    """Activations [token source d_model] that hold what the table above says, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    f = (torch.rand(n_tokens, N_LATENTS, generator=generator) < 0.15) * (
        1 + torch.rand(n_tokens, N_LATENTS, generator=generator)
    )
    f[:, 0] = 0
    f[:, WRITER] = torch.where(f[:, DECOUPLED] > 0, f[:, DECOUPLED], f[:, WRITER])
    axes = torch.eye(D_MODEL)
    x = torch.empty(n_tokens, n_sources, D_MODEL)
    for source in range(n_sources):
        held = axes[:N_LATENTS].clone()
        if source == 0:
            held[ONLY] = held[DECOUPLED] = 0
            held[WRITER] += 0.8 * axes[DECOUPLED]
            held[TURNED] = axes[OTHER_WAY]
        if source == n_sources - 1:
            held[FIRST_ONLY] = 0
        x[:, source] = f @ held
    return x + 0.02 * torch.randn(x.shape, generator=generator)


def planted_inputs(folder: Path, names: tuple[str, ...] = ("base", "chat"), n_rows: int = 150) -> AnalysisInputs:
    """What the pipeline would open, over a few thousand tokens of many documents."""
    text = corpus(n_rows)
    text.masks["control"][:] = False
    plan = plan_stream(text, "held_out", 0, 400, layout="ordered")
    x = make_activations(int(plan.counts.sum()), len(names))
    directories, starts = [], np.cumsum(plan.counts) - plan.counts
    for place, name in enumerate(names):
        source = Source(Snapshot(name, label=name, step=place), HookPoint.parse("resid_post.1"))
        writer = ShardWriter(folder / "planted" / name, source, plan, dtype="float32")
        for shard, (start, count) in enumerate(zip(starts, plan.counts, strict=True)):
            values = x[int(start) : int(start + count), place].contiguous()
            writer.write(shard, values, values.norm(dim=1))
        writer.finish()
        directories.append(writer.directory)
    store = open_stream(directories, plan)
    assert isinstance(store, OrderedStore)
    made = make_dictionary(names)
    codes = CodeCacheWriter(folder / "planted-codes", made, "d1")
    run_pass(made, store, {}, cache=codes)
    rest = inputs(folder / "rest")
    scratch = folder / "scratch"
    scratch.mkdir()
    return dataclasses.replace(
        rest, maybe_dictionary=made, corpus=text, maybe_held_out=store, codes=codes.finish(), scratch=scratch
    )


def answer(analysis: Analysis, inputs: AnalysisInputs, config: Config, folder: Path) -> Result:
    """What the pipeline does with an analysis that rides: one pass, then `run`; as it comes back from disk."""
    assert analysis.ride is not None
    rider = analysis.ride(inputs, config)
    run_pass(inputs.dictionary, inputs.held_out, {"rider": rider}, codes=inputs.codes)
    result = analysis.run(dataclasses.replace(inputs, accumulated=rider.compute()), config)
    save_result(result, folder)
    return load_result(folder)
