"""Small dictionaries of every kind, and an ordered store of random activations over a corpus with masks."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ontogeny.activations.plan import plan_stream
from ontogeny.activations.sharded import OrderedStore, open_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.dictionaries.activation_functions import ACTIVATION_FUNCTIONS
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint, Snapshot, Source

D_MODEL, N_LATENTS, WIDTH = 6, 40, 12
NAMES = ("step0", "step8", "step64")
KINDS = [(kind, gate) for kind in sorted(ACTIVATION_FUNCTIONS) for gate in ("shared", "per_source")]
KINDS.remove(("groupmax", "per_source"))


def corpus(n_rows: int = 20, seed: int = 0) -> Corpus:
    """Packed rows, all held out: documents of uneven length that go on from row to row, every fifth token a control."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 64, (n_rows, WIDTH))
    lengths = generator.integers(WIDTH - 4, WIDTH + 1, n_rows)
    made = Corpus.from_tokens(tokens, lengths=lengths, exclude_first=1)
    starts = generator.random((n_rows, WIDTH)) < 0.12
    real = made.document >= 0
    made.document[real] = np.cumsum(starts.reshape(-1)).reshape(starts.shape)[real]
    made.held_out[:] = True
    made.masks["control"] |= (np.arange(WIDTH) % 5 == 2) & real
    return made


def store(folder: Path, text: Corpus | None = None, seed: int = 0, tokens_per_shard: int = 60) -> OrderedStore:
    """An ordered store over a corpus, one source a name, random activations of different means and sizes."""
    text = corpus() if text is None else text
    plan = plan_stream(text, "held_out", 0, tokens_per_shard, layout="ordered")
    generator = torch.Generator().manual_seed(seed)
    directories = []
    for place, name in enumerate(NAMES):
        source = Source(
            Snapshot(name, label=name, step=int(name.removeprefix("step"))), HookPoint.parse("resid_post.1")
        )
        writer = ShardWriter(folder / name, source, plan, dtype="float32")
        for shard, count in enumerate(plan.counts):
            values = torch.randn(int(count), D_MODEL, generator=generator) * (1 + place) + 0.3 * place
            writer.write(shard, values, torch.linalg.vector_norm(values, dim=1))
        writer.finish()
        directories.append(writer.directory)
    opened = open_stream(directories, plan)
    assert isinstance(opened, OrderedStore)
    return opened


def dictionary(kind: str = "batchtopk", gate: str = "shared", seed: int = 0, n_latents: int = N_LATENTS) -> Crosscoder:
    """A random dictionary in inference form whose norms differ by source; its latent 0 is dead."""
    activation: dict[str, Any] = {"kind": kind}
    if kind in ("topk", "batchtopk", "groupmax"):
        activation["k"] = 4
    config = CrosscoderConfig.model_validate({"n_latents": n_latents, "activation": activation, "gate": gate})
    made = Crosscoder(config, NAMES, d_model=D_MODEL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (made.W_enc, made.W_dec):
            weight.copy_(torch.randn(weight.shape, generator=generator))
        made.W_dec.mul_(torch.rand(n_latents, len(NAMES), 1, generator=generator) + 0.05)
        made.W_enc.mul_(0.2)
        made.b_dec.copy_(torch.randn(made.b_dec.shape, generator=generator))
        made.b_enc[0] = -1e6
        if kind == "batchtopk":
            made.activation.threshold.fill_(0.7)
    made.set_scales(torch.tensor([1.0, 0.6, 0.4]), torch.full((len(NAMES), D_MODEL), 0.1))
    return made.eval()


class CountAndSum(Accumulator):
    """Counts, sums and largest values per latent, and the sum of activations: the smallest of riders."""

    needs_activations = True

    def __init__(self, n_latents: int = N_LATENTS) -> None:
        self.counts = torch.zeros(n_latents, dtype=torch.int64)
        self.sums = torch.zeros(n_latents, dtype=torch.float64)
        self.activation = torch.zeros(len(NAMES), D_MODEL, dtype=torch.float64)
        self.firsts: list[int] = []

    def update(self, batch: LatentBatch) -> None:
        assert batch.x is not None
        self.counts += batch.codes.counts()
        self.sums.index_add_(0, batch.codes.indices, batch.codes.values.double())
        self.activation += batch.x.double().sum(0)
        self.firsts.append(batch.first)

    def merge(self, other: "CountAndSum") -> None:
        self.counts += other.counts
        self.sums += other.sums
        self.activation += other.activation
        self.firsts += other.firsts

    def compute(self) -> "CountAndSum":
        return self

    def state(self) -> dict[str, Tensor]:
        firsts = torch.tensor(self.firsts, dtype=torch.int64)
        return {"counts": self.counts, "sums": self.sums, "activation": self.activation, "firsts": firsts}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.counts, self.sums, self.activation = state["counts"], state["sums"], state["activation"]
        self.firsts = state["firsts"].tolist()
