"""Prompts of a behaviour, encoded once from the activations of all snapshots, ready to be attributed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import CorpusError
from ontogeny.interventions.changes import compute_change, mean_contributions
from ontogeny.interventions.effects import Baseline, EffectBatch
from ontogeny.interventions.prompts import Prompts

ENCODED_AT_A_TIME = 1 << 27
"""Cells (position, latent) before the sparse codes are known: 512 MB."""


@dataclass(frozen=True)
class PromptActivations:
    """Raw activations of prompts in all sources that a dictionary reads and writes, [prompt position source d_model].

    `reads`, `writes`: which entries of the source axis the dictionary reads and writes.
    """

    values: Float[Tensor, "prompt position source d_model"]
    reads: tuple[int, ...]
    writes: tuple[int, ...]


def moving_positions(
    prompts: Prompts, skip_first: int = 1, positions: Sequence[int] | None = None
) -> Bool[Tensor, "prompt position"]:
    """Where the activation moves: occupied cells up to the last one, less the first `skip_first` occupied ones.

    `positions`: only these, counted from the prompt's last position backwards (-1 is the last). CorpusError where a
    prompt keeps none.
    """
    column = torch.arange(prompts.tokens.shape[1])
    rank = prompts.occupied.long().cumsum(dim=1)
    moves = prompts.occupied & (rank > skip_first) & (column <= prompts.last[:, None])
    if positions is not None:
        from_end = column - prompts.last[:, None] - 1
        moves &= torch.isin(from_end, torch.tensor(list(positions)))
    empty = (~moves.any(dim=1)).nonzero()[:, 0]
    if len(empty):
        raise CorpusError(
            f"prompt {int(empty[0])} ({int(prompts.occupied[empty[0]].sum())} tokens) has no position left to change; "
            "lower skip_first, or name other positions."
        )
    return moves


def build_effect_batches(
    dictionary: Crosscoder,
    clean: Prompts,
    activations: PromptActivations,
    moves: Bool[Tensor, "prompt position"],
    *,
    baseline: Baseline = "pair",
    patched: PromptActivations | None = None,
    batch: int = 32,
) -> tuple[list[EffectBatch], Float[Tensor, "source d_model"] | None]:
    """Batches of prompts with the change of their codes to the baseline; and the mean activation, for that baseline.

    The mean is over the moving positions of the clean prompts and, where there are any, of the patch prompts too.
    CorpusError for the pair baseline without patch prompts.
    """
    if baseline == "pair" and patched is None:
        raise CorpusError('these pairs have no patch prefix; take baseline = "mean" or "zero".')
    spans = torch.arange(len(clean)).split(batch)
    codes = [encode_moving(dictionary, activations, moves, span) for span in spans]
    others = [encode_moving(dictionary, patched, moves, span) for span in spans] if patched is not None else []
    mean, shift = None, None
    if baseline == "mean":
        shift = mean_contributions([*codes, *others])
        rows = [each.values[:, :, list(each.writes)][moves] for each in (activations, patched) if each is not None]
        mean = torch.cat(rows).double().mean(dim=0).float()
    batches = []
    for index, span in enumerate(spans):
        change = compute_change(codes[index], others[index] if baseline == "pair" else None, shift)
        batches.append(
            EffectBatch(
                numbers=span.numpy(),
                prompts=clean.take(span),
                moves=moves[span],
                hidden=activations.values[span][:, :, list(activations.writes)],
                patched=None if patched is None else patched.values[span][:, :, list(patched.writes)],
                change=change,
                codes=codes[index],
            )
        )
    return batches, mean


@torch.no_grad()
def encode_moving(
    dictionary: Crosscoder,
    activations: PromptActivations,
    moves: Bool[Tensor, "prompt position"],
    span: Int[Tensor, " chosen"],
) -> Codes:
    """The codes of some prompts, a token for each position that moves."""
    rows = activations.values[span][moves[span]][:, list(activations.reads)]
    parts = rows.split(max(ENCODED_AT_A_TIME // dictionary.n_latents, 1))
    return Codes.concatenate([dictionary.encode(part.to(dictionary.W_enc.device)).sparse() for part in parts])


def iter_halves(clusters: Int[np.ndarray, "prompt"], seed: int) -> Iterator[Int[np.ndarray, "half"]]:
    """Two halves of the prompts that share no cluster: what is chosen on one is judged on the other."""
    known = np.unique(clusters)
    first = np.random.default_rng(seed).permutation(known)[: len(known) // 2]
    chosen = np.isin(clusters, first)
    yield np.flatnonzero(chosen)
    yield np.flatnonzero(~chosen)
