"""Whole sentences scored as evaluation harnesses do it: the sum of log-probabilities of all their tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ontogeny.snapshots.hooks import HookedModel


def tokenize_sentences(sentences: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Ids of every sentence after the token that starts a text (BOS, else end of text), where there is one."""
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    lead = [] if start is None else [start]
    return [lead + tokenizer(each, add_special_tokens=False)["input_ids"] for each in sentences]


@torch.no_grad()
def score_sentences(
    model: HookedModel, rows: Sequence[Sequence[int]], batch: int = 32
) -> Float[np.ndarray, "sentence"]:
    """sum over tokens but the first of log P(token | those before), nats, not divided by length.

    Source: lm-evaluation-harness, `multiple_choice` with an empty context.
    """
    scores = np.zeros(len(rows))
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = max(len(rows[at]) for at in chosen)
        tokens = torch.tensor([[*rows[at], *[rows[at][-1]] * (width - len(rows[at]))] for at in chosen])
        tokens = tokens.to(model.device)
        # Padding lies behind: causal models never look there, and its predictions are not summed.
        log_p = model.forward(tokens).logits[:, :-1].float().log_softmax(dim=-1)
        said = log_p.gather(2, tokens[:, 1:, None])[..., 0].double().cpu().numpy()
        lengths = np.array([len(rows[at]) for at in chosen])
        counted = np.arange(width - 1) < lengths[:, None] - 1
        scores[chosen] = np.where(counted, said, 0.0).sum(axis=1)
    return scores
