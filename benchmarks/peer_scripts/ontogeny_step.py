"""Ours: the update of the trainer (forward, backward, clipping, fused Adam, thresholds, dead counters), with freed
blocks returned as `train` does.
"""

import itertools
import tempfile
from pathlib import Path

import torch
from worker import Setting, make_activations, serve

from ontogeny.activations.memory import MemoryStore
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.training.config import TrainingConfig
from ontogeny.training.memory import return_freed_blocks, spare_bytes
from ontogeny.training.trainer import Trainer

SPARSITY = {"l1": {"kind": "l1", "coefficient": 1e-3}, "jumprelu": {"kind": "tanh", "coefficient": 1e-3}}


def build(setting: Setting):
    kind = "relu" if setting["activation"] == "l1" else setting["activation"]
    activation = {"kind": kind} if kind in ("relu", "jumprelu") else {"kind": kind, "k": setting["k"]}
    sparsity = SPARSITY.get(setting["activation"], {"kind": "none"})
    config = CrosscoderConfig(n_latents=setting["n_latents"], activation=activation, sparsity=sparsity)
    names = [f"source{i}" for i in range(setting["n_sources"])]
    store = MemoryStore.from_tensors(torch.cat(make_activations(setting)), names)
    crosscoder = Crosscoder(config, names, d_model=setting["d_model"])
    training = TrainingConfig(steps=10_000, batch_size=setting["batch"], lr=2e-4)
    return_freed_blocks(spare_bytes(crosscoder, training))
    trainer = Trainer(store, crosscoder, training, Path(tempfile.gettempdir()), torch.device("cpu"))
    trainer._initialise()
    batches = itertools.cycle(list(itertools.islice(store.iter_batches(setting["batch"], seed=0), 2)))

    def step(_: torch.Tensor) -> None:
        trainer._update(batches, wanted=False)

    return step


serve(build)
