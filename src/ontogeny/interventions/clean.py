"""A snapshot's untouched forward over rows of a corpus, from which patched ones go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint


@dataclass(frozen=True)
class CleanRun:
    """What one snapshot reads, computes and predicts on some rows.

    `mask`: the attention mask, None without padding; `hidden`: raw activations at the hook points asked for.
    """

    model: HookedModel
    tokens: Int[Tensor, "row position"]
    mask: Int[Tensor, "row position"] | None
    logits: Float[Tensor, "row position vocab"]
    hidden: Mapping[HookPoint, Float[Tensor, "row position d_model"]]


@torch.no_grad()
def run_clean(
    model: HookedModel, corpus: Corpus, rows: Int[np.ndarray, "row"], label: str, hook_points: Sequence[HookPoint]
) -> CleanRun:
    """Run the model of the snapshot `label`, which reads its own words for template tokens that it does not know."""
    tokens, mask = read_rows(corpus, rows, label, model.device)
    output = model.forward(tokens, mask, read=hook_points)
    return CleanRun(model, tokens, mask, output.logits, {point: output.activations[point] for point in hook_points})


def read_rows(
    corpus: Corpus, rows: Int[np.ndarray, "row"], label: str, device: torch.device | str
) -> tuple[Int[Tensor, "row position"], Int[Tensor, "row position"] | None]:
    """The tokens of some rows as the snapshot `label` must read them, and the attention mask, None without padding."""
    tokens = torch.from_numpy(corpus.input_tokens(rows, label)).long().to(device)
    occupied = torch.from_numpy(corpus.document[rows] >= 0).to(device)
    return tokens, None if bool(occupied.all()) else occupied.long()


def name_text(corpus: Corpus) -> str:
    """What every snapshot reads of a corpus, for a hash: its tokens, and the words replaced for some snapshots."""
    replaced = sorted((label, sorted(pairs.items())) for label, pairs in corpus.replacements.items())
    return f"{corpus.fingerprint}{replaced!r}"
