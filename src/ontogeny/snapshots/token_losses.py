"""Loss of a model on every wanted token of some rows, with logits widened to float32 a few at a time."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel

CHUNK_LOGITS = 1 << 24
"""Logits turned into float32 losses at a time (64 MiB)."""


@torch.no_grad()
def compute_token_losses(
    model: HookedModel, rows: Int[Tensor, "row position"], wanted: Bool[Tensor, "row position"]
) -> Float[Tensor, " token"]:
    """−log P(token | tokens before it in its row), nats, float32, where `wanted`; row by row, on the CPU.

    A row's first token has no prediction. Padding stands at the ends of rows, where no real token sees it: no mask is
    needed.
    """
    logits = model(rows).logits[:, :-1].reshape(-1, model.vocab_size)
    chosen = wanted[:, 1:].reshape(-1).nonzero()[:, 0].to(logits.device)
    targets = rows[:, 1:].reshape(-1).to(logits.device)
    step = max(1, CHUNK_LOGITS // model.vocab_size)
    parts = [
        torch.nn.functional.cross_entropy(logits[at].float(), targets[at], reduction="none")
        for at in chosen.split(step)
    ]
    return torch.cat(parts).cpu() if parts else torch.zeros(0)
