"""Products of MLP activations at the position that predicts a token: the kernel that needs no gradient."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gradients.kept import Kept
from ontogeny.quanta.gradients.parameters import Part, block_parts
from ontogeny.quanta.gradients.products import add_products, mirror
from ontogeny.quanta.gradients.samples import Samples
from ontogeny.quanta.gradients.stream import WORKING_SHARE
from ontogeny.quanta.gradients.taps import tapped
from ontogeny.quanta.similarity import GradientGram
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

ACTIVATIONS = "mlp.activations"


def compute_activation_gram(
    model: HookedModel, documents: Documents, tokens: Int[np.ndarray, " token"], config: GramConfig | None = None
) -> GradientGram:
    """Products of what enters each MLP's last map at the position before the token, of all layers; one "group".

    Of `config`, `by_layer`, `accumulate`, `batch_tokens` and `memory` count: as many layers as fit are read at once.
    Cosines of the sum over layers are those of all layers' activations end to end.
    Source: quantization-model, clustering-0 (`mlp.hook_post`).
    """
    config = GramConfig() if config is None else config
    samples = Samples(documents, [np.asarray(tokens)], config.batch_tokens)
    outputs = [_output_map(model, layer) for layer in range(model.n_layers)]
    dtype = torch.float32 if config.accumulate == "float32" else torch.float64
    totals: dict[int | None, Tensor] = {}
    n_matrices = (model.n_layers if config.by_layer else 1) + 2
    room = config.memory * 1e9 * (1 - WORKING_SHARE) - n_matrices * len(samples) ** 2 * dtype.itemsize
    at_once = max(1, int(room // (len(samples) * outputs[0].width * 4)))
    for first in range(0, model.n_layers, at_once):
        chosen = outputs[first : first + at_once]
        for layer, read in enumerate(_read_last(model, samples, chosen), start=first):
            key = layer if config.by_layer else None
            if key not in totals:
                totals[key] = torch.zeros(len(samples), len(samples), dtype=dtype, device=read.device)
            add_products(totals[key], Kept(read))
    back = samples.given(samples.sets[0])
    products = {(ACTIVATIONS, key): mirror(each.cpu())[back[:, None], back].numpy() for key, each in totals.items()}
    return GradientGram(np.asarray(tokens), products)


def _output_map(model: HookedModel, layer: int) -> Part:
    """An MLP's last map."""
    return [part for part in block_parts(model, layer) if part.group == "mlp.weight"][-1]


@torch.no_grad()
def _read_last(model: HookedModel, samples: Samples, parts: Sequence[Part]) -> list[Tensor]:
    """What enters the maps at the last position of every sample, [sample width] each."""
    wide = torch.float64 if model.dtype == torch.float64 else torch.float32
    modules: list[nn.Module] = [part.module for part in parts]
    found = [torch.empty(len(samples), part.width, dtype=wide, device=model.device) for part in parts]
    after = HookPoint("resid_post", max(part.layer for part in parts if part.layer is not None))
    for batch in samples.batches:
        with tapped(modules, batch.stop - batch.start) as taps:
            model.read(samples.ids(batch), [after])
        rows, ends = torch.arange(batch.stop - batch.start), samples.lengths[batch] - 1
        for module, target in zip(modules, found):
            target[batch] = taps[module].entering[rows, ends].to(target)
    return found
