"""Loss of a model on every wanted token of some rows, with logits of a few tokens at a time."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

TOKENS_AT_A_TIME = 128
"""Tokens whose logits are made and turned into losses together: enough for a product at full speed, and few enough that
the softmax finds them in a cache (with 50,304 ids: 0.99 of one large product alone; 64 tokens 1.7, 512 tokens 1.4)."""


@torch.inference_mode()
def compute_token_losses(
    model: HookedModel, rows: Int[Tensor, "row position"], wanted: Bool[Tensor, "row position"]
) -> Float[Tensor, " token"]:
    """−log P(token | tokens before it in its row), nats, float32, where `wanted`; row by row, on the CPU.

    A row's first token has no prediction. Padding stands at the ends of rows, where no real token sees it: no mask is
    needed. Logits are made of what is wanted alone.
    """
    last = HookPoint("resid_post", model.n_layers - 1)
    chosen = wanted[:, 1:].to(model.device)
    hidden = model.read(rows, [last])[last][:, :-1][chosen]
    targets = rows[:, 1:].to(model.device)[chosen]
    parts = [
        torch.nn.functional.cross_entropy(model.unembed(some).float(), target, reduction="none")
        for some, target in zip(hidden.split(TOKENS_AT_A_TIME), targets.split(TOKENS_AT_A_TIME), strict=True)
    ]
    return torch.cat(parts).cpu() if parts else torch.zeros(0)
