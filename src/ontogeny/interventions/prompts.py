"""Prompts with an answer: what a model says at their last position, and what it computes at a hook point on the way."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.pairs import PairTokens
from ontogeny.types import HookPoint


@dataclass(frozen=True)
class Prompts:
    """Rows of tokens, where each ends, and the two answers that are compared there.

    `tokens`, `occupied` [prompt position]: ids, and which cells are no padding; `last` [prompt]: the position whose
    prediction counts; `right`, `wrong` [prompt]: answer ids, wrong -1 where there is none.
    """

    tokens: Int[Tensor, "prompt position"]
    occupied: Bool[Tensor, "prompt position"]
    last: Int[Tensor, " prompt"]
    right: Int[Tensor, " prompt"]
    wrong: Int[Tensor, " prompt"]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def attention(self) -> Tensor | None:
        """The attention mask; None where padding lies behind the last position alone, which no position looks at."""
        column = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        beginning = self.occupied | (column > self.last[:, None])
        return None if bool(beginning.all()) else self.occupied.long()

    def take(self, indices: Int[Tensor, " chosen"]) -> "Prompts":
        """The prompts at `indices`."""
        fields = (self.tokens, self.occupied, self.last, self.right, self.wrong)
        return Prompts(*(field[indices] for field in fields))

    def to(self, device: torch.device | str) -> "Prompts":
        """The same prompts on a device."""
        fields = (self.tokens, self.occupied, self.last, self.right, self.wrong)
        return Prompts(*(field.to(device) for field in fields))


def clean_prompts(pairs: PairTokens) -> Prompts:
    """The clean prefixes of pairs."""
    return _prompts(pairs.clean, pairs.length, pairs)


def patch_prompts(pairs: PairTokens) -> Prompts | None:
    """The patch prefixes of pairs, with the answers of the clean ones; None where the pairs have none."""
    if pairs.patch is None or pairs.patch_length is None:
        return None
    return _prompts(pairs.patch, pairs.patch_length, pairs)


def _prompts(tokens: np.ndarray, lengths: np.ndarray, pairs: PairTokens) -> Prompts:
    occupied = np.arange(tokens.shape[1]) < lengths[:, None]
    parts = (tokens, occupied, lengths - 1, pairs.right, pairs.wrong)
    return Prompts(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


def compute_metric(logits: Float[Tensor, "prompt position vocab"], prompts: Prompts) -> Float[Tensor, " prompt"]:
    """m = logit(wrong) - logit(right) at the last position: what is lost when the behaviour is destroyed is positive.

    Where there is no wrong answer m = -log P(right). In nats, float32. Source: through-time crosscoders,
    arXiv 2509.05291 (the normaliser of the two log-probabilities cancels).
    """
    rows = torch.arange(len(prompts), device=logits.device)
    return compare_answers(logits[rows, prompts.last.to(logits.device)], prompts)


def compare_answers(logits: Float[Tensor, "prompt vocab"], prompts: Prompts) -> Float[Tensor, " prompt"]:
    """`compute_metric` of the logits at the last position alone."""
    final, rows = logits.float(), torch.arange(len(prompts), device=logits.device)
    right = final[rows, prompts.right.to(logits.device)]
    wrong_ids = prompts.wrong.to(logits.device)
    wrong = final[rows, wrong_ids.clamp(min=0)]
    return torch.where(wrong_ids >= 0, wrong - right, final.logsumexp(dim=-1) - right)


def read_prompts(
    model: HookedModel, prompts: Prompts, hook_point: HookPoint, batch: int = 32
) -> Float[Tensor, "prompt position d_model"]:
    """Activations at a hook point, float32 on the CPU; the forward stops there."""
    parts = []
    with torch.no_grad():
        for indices in torch.arange(len(prompts)).split(batch):
            some = prompts.take(indices).to(model.device)
            parts.append(model.read(some.tokens, [hook_point], some.attention)[hook_point].float().cpu())
    return torch.cat(parts)


def measure_prompts(model: HookedModel, prompts: Prompts, batch: int = 32) -> Float[Tensor, " prompt"]:
    """The metric of the untouched model, on the CPU."""
    parts = []
    with torch.no_grad():
        for indices in torch.arange(len(prompts)).split(batch):
            some = prompts.take(indices).to(model.device)
            parts.append(compute_metric(model.forward(some.tokens, some.attention).logits, some).cpu())
    return torch.cat(parts)
