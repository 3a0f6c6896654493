"""eai-sparsify: its own `Trainer.fit` with its Adam (loss fvu, unit-norm decoder, AuxK off as by default), on a model
whose one layer returns the activations that it is handed; a step is all that `fit` does from one batch to the next.
"""

import queue
import tempfile
import threading

import torch
from sparsify import SparseCoderConfig, TrainConfig, Trainer
from worker import Setting, Unsupported, serve

SEQUENCES = 8


class HandedOver(torch.nn.Module):
    """A model in whose forward `fit` waits for the next batch; what it is asked first (widths) is answered at once."""

    device = torch.device("cpu")

    def __init__(self, first: torch.Tensor) -> None:
        super().__init__()
        self.layer = torch.nn.Identity()
        self.first = first
        self.dummy_inputs = {"input_ids": torch.zeros(first.shape[:2], dtype=torch.long)}
        self.batches: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()
        self.asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.fitting = False

    @property
    def base_model(self) -> torch.nn.Module:
        return self

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        if not self.fitting:
            return self.layer(self.first)
        self.asked.put(None)
        return self.layer(self.batches.get())


def build(setting: Setting):
    if setting["activation"] not in ("topk", "groupmax") or setting["n_sources"] != 1:
        raise Unsupported(f"sparsify trains no {setting['activation']} with {setting['n_sources']} source(s)")
    length = setting["batch"] // SEQUENCES
    model = HandedOver(torch.zeros(SEQUENCES, length, setting["d_model"]))
    coder = SparseCoderConfig(activation=setting["activation"], num_latents=setting["n_latents"], k=setting["k"])
    config = TrainConfig(
        coder,
        batch_size=SEQUENCES,
        optimizer="adam",
        lr=2e-4,
        hookpoints=["layer"],
        log_to_wandb=False,
        save_every=10**9,
        save_dir=tempfile.gettempdir(),
    )
    tokens = [{"input_ids": torch.zeros(length, dtype=torch.long)}] * (SEQUENCES * 10_000)
    trainer = Trainer(config, tokens, model)
    model.fitting = True
    threading.Thread(target=trainer.fit, daemon=True).start()
    model.asked.get()

    def step(x: torch.Tensor) -> None:
        model.batches.put(x[:, 0].unflatten(0, (SEQUENCES, length)))
        model.asked.get()

    return step


serve(build)
