"""Both models on the same text: how far apart their predictions are, token by token."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.analyses.base_chat.config import BaseChatConfig
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.evaluation.groups import predicted_groups
from ontogeny.evaluation.metrics import Estimate, compute_ratio
from ontogeny.interventions.splice import compute_token_losses, predicted_positions
from ontogeny.latents.pair import Pair
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.unembedding import LinearUnembedding, fold_unembedding
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint

LENS_TOKENS = 4_096
"""Tokens over which the chat model's final norm is averaged for the logit lens."""


@dataclass(frozen=True)
class Divergence:
    """One entry a predicted token, in nats; `row` and `position`: where the prediction is made.

    kl = KL(chat || base); `chat_says`, `base_says`: the most likely next tokens. `lens`: the chat model's final norm
    and unembedding, folded. `vocabulary`: token ids that both models have.
    """

    row: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    kl: Float[np.ndarray, " token"]
    ce_base: Float[np.ndarray, " token"]
    ce_chat: Float[np.ndarray, " token"]
    chat_says: Int[np.ndarray, " token"]
    base_says: Int[np.ndarray, " token"]
    lens: LinearUnembedding
    vocabulary: int


@torch.no_grad()
def compare_predictions(inputs: AnalysisInputs, config: BaseChatConfig, pair: Pair) -> Divergence:
    """Run both models over held-out rows until `kl_tokens` predictions are compared."""
    corpus, labels = inputs.corpus, inputs.series.labels
    dtype = "float32" if inputs.device == "cpu" else "bfloat16"
    chosen = [pair.base_source.snapshot.label, pair.chat_source.snapshot.label]
    base, chat = (inputs.series.open(labels.index(label), device=inputs.device, dtype=dtype) for label in chosen)
    vocabulary = min(base.vocab_size, chat.vocab_size)
    last = HookPoint("resid_post", chat.n_layers - 1)
    parts: list[tuple[np.ndarray, ...]] = []
    residual: list[Tensor] = []
    n_residual = n_tokens = 0
    rows = corpus.rows("held_out")
    for start in range(0, len(rows), config.model_batch):
        block = rows[start : start + config.model_batch]
        predicted = predicted_positions(corpus, block, vocabulary)
        after = chat.forward(_tokens(corpus, block, chosen[1]), read=[last] if n_residual < LENS_TOKENS else [])
        if last in after.activations:
            kept = torch.from_numpy(np.asarray(corpus.keep[block])).to(chat.device)
            residual.append(after.activations[last][kept].cpu())
            n_residual += len(residual[-1])
        before = base.forward(_tokens(corpus, block, chosen[0]))
        parts.append(_compare(corpus, block, predicted, before.logits, after.logits, vocabulary))
        n_tokens += int(predicted.sum())
        if n_tokens >= config.kl_tokens:
            break
    row, position, kl, ce_base, ce_chat, *said = (np.concatenate(each) for each in zip(*parts, strict=True))
    lens = _lens(chat, torch.cat(residual), vocabulary)
    return Divergence(row, position, kl, ce_base, ce_chat, said[0], said[1], lens, vocabulary)


def _lens(chat: HookedModel, residual: Tensor, vocabulary: int) -> LinearUnembedding:
    folded = fold_unembedding(chat, residual[:LENS_TOKENS], vocabulary)
    return LinearUnembedding(folded.matrix.cpu(), folded.inverse_scale)


def _tokens(corpus: Corpus, rows: Int[np.ndarray, " row"], label: str) -> Tensor:
    return torch.from_numpy(corpus.input_tokens(rows, label).astype(np.int64))


def _compare(
    corpus: Corpus,
    rows: Int[np.ndarray, " row"],
    predicted: Bool[np.ndarray, "row position"],
    before: Float[Tensor, "row position _"],
    after: Float[Tensor, "row position _"],
    vocabulary: int,
) -> tuple[np.ndarray, ...]:
    """(row, position, kl, ce of base, ce of chat, most likely tokens) of the predicted tokens of some rows."""
    before, after = before[..., :vocabulary], after[..., :vocabulary]
    where = torch.from_numpy(predicted).to(after.device)
    tokens = torch.from_numpy(np.asarray(corpus.tokens[rows]).astype(np.int64)).to(after.device)
    ce_base, kl = compute_token_losses(before, tokens, where, clean=after)
    ce_chat, _ = compute_token_losses(after, tokens, where)
    assert kl is not None, "clean logits were given"
    row, position = np.nonzero(predicted)
    losses = (each.double().cpu().numpy() for each in (kl, ce_base, ce_chat))
    said = (logits[where].argmax(-1).cpu().numpy() for logits in (after, before))
    return rows[row], position, *losses, *said


def group_divergence(
    divergence: Divergence, corpus: Corpus, config: BaseChatConfig
) -> list[dict[str, str | int | float | None]]:
    """One row a group of predicted tokens: n, mean divergence and losses with standard errors over documents."""
    documents = np.asarray(corpus.document[divergence.row, divergence.position])
    _, cluster = np.unique(documents, return_inverse=True)
    rows = []
    for name, member in predicted_groups(corpus, divergence.row, divergence.position, config.first_tokens):
        if not member.any():
            continue
        count = np.bincount(cluster[member], minlength=cluster.max() + 1).astype(np.float64)
        row: dict[str, str | int | float | None] = {
            "group": name,
            "n": int(member.sum()),
            "n_documents": int((count > 0).sum()),
        }
        for column in ("kl", "ce_base", "ce_chat"):
            values = getattr(divergence, column)[member]
            sums = np.bincount(cluster[member], weights=values, minlength=len(count))
            estimate: Estimate = compute_ratio(sums, count)
            row |= {column: estimate.value, f"{column}_se": estimate.se}
        rows.append(row)
    return rows


def find_examples(divergence: Divergence, corpus: Corpus, count: int) -> Int[np.ndarray, " example"]:
    """The tokens of the largest divergence, one a document, largest first."""
    order = np.argsort(-divergence.kl, kind="stable")
    documents = np.asarray(corpus.document[divergence.row[order], divergence.position[order]])
    _, first = np.unique(documents, return_index=True)
    return order[np.sort(first)[:count]]
