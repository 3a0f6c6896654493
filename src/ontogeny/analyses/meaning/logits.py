"""Direct effects of decoder directions on a snapshot's logits: the largest of either sign, in blocks of latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.numpy import save_file
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.unembedding import fold_unembedding
from ontogeny.tokens.corpus import Corpus
from ontogeny.tokens.tensor_file import map_tensors
from ontogeny.types import HookPoint
from ontogeny.workspace import disk_errors

BLOCK_EFFECTS = 1 << 24
"""Effects [latent vocabulary] held at a time."""


@dataclass(frozen=True)
class LogitEffects:
    """Of one source: ids and effects of unit codes [latent 2 rank], the largest effects first, then the smallest."""

    ids: Int[np.ndarray, "latent 2 rank"]
    effects: Float[np.ndarray, "latent 2 rank"]

    def save(self, path: Path) -> None:
        """Write it whole under its final name, or not at all."""
        temporary = path.with_suffix(".tmp")
        with disk_errors(path):
            save_file({"ids": self.ids, "effects": self.effects}, temporary)
            temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "LogitEffects":
        """What `save` wrote, as memory maps: those of all sources together would be too much to hold."""
        return cls(**map_tensors(path))


@torch.no_grad()
def compute_logit_effects(
    model: HookedModel,
    W_dec: Float[Tensor, "latent d_model"],
    residual: Float[Tensor, "token d_model"],
    top: int,
    vocabulary: int,
) -> LogitEffects:
    """The `top` tokens that each decoder direction, in raw units, promotes most and least, with the effects in logits.

    `residual`: the model's residual stream before the final norm. Nothing is as large as [latent vocabulary].
    """
    unembedding = fold_unembedding(model, residual, vocabulary)
    top = min(top, len(unembedding.matrix))
    parts = []
    step = max(BLOCK_EFFECTS // len(unembedding.matrix), 1)
    for start in range(0, len(W_dec), step):
        effects = unembedding.effects(W_dec[start : start + step].to(model.device))
        ends = [torch.topk(effects, top, dim=1, largest=largest) for largest in (True, False)]
        parts.append([torch.stack(each, dim=1).cpu() for each in zip(*ends, strict=True)])
    values, ids = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    return LogitEffects(ids.astype(np.int32), values.astype(np.float32))


@torch.no_grad()
def read_final_residual(
    model: HookedModel, corpus: Corpus, rows: Int[np.ndarray, " row"], label: str
) -> Float[Tensor, "token d_model"]:
    """The residual stream before the final norm on the kept tokens of some corpus rows."""
    last = HookPoint("resid_post", model.n_layers - 1)
    kept = np.asarray(corpus.keep[rows])
    parts = []
    for row, keep in zip(rows, kept, strict=True):
        tokens = torch.from_numpy(corpus.input_tokens(np.array([row]), label).astype(np.int64))
        parts.append(model.read(tokens.to(model.device), [last])[last][0][torch.from_numpy(keep).to(model.device)])
    return torch.cat(parts)


def iter_rows(
    by_source: list[LogitEffects],
    latents: Int[np.ndarray, " chosen"],
    mean: Float[np.ndarray, " chosen"],
    mean_se: Float[np.ndarray, " chosen"],
) -> Iterator[tuple[np.ndarray, ...]]:
    """(latent, source, side, rank, id, effect, effect_se) for chosen latents, each an array over rows, by blocks.

    Effects are those of the latent's mean code: unit effect · mean; their standard error is that of the mean.
    """
    rank = by_source[0].ids.shape[2]
    rows_each = len(by_source) * 2 * rank
    step = max((1 << 18) // rows_each, 1)
    for start in range(0, len(latents), step):
        chosen = latents[start : start + step]
        ids = np.stack([each.ids[chosen] for each in by_source], axis=1).reshape(-1)
        unit = np.stack([each.effects[chosen] for each in by_source], axis=1).astype(np.float64)
        here = slice(start, start + step)
        grid = np.indices((len(chosen), len(by_source), 2, rank)).reshape(4, -1)
        yield (
            chosen[grid[0]],
            grid[1],
            grid[2],
            grid[3],
            ids,
            (unit * mean[here, None, None, None]).reshape(-1),
            (np.abs(unit) * mean_se[here, None, None, None]).reshape(-1),
        )
