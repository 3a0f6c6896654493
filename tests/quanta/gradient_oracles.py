"""Whole gradients of tiny models by autograd in float64, one backward a token through the whole document."""

import numpy as np
import torch
from torch import Tensor

from ontogeny.quanta.config import PUBLISHED
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gradients.parameters import Part, block_parts, embedding_modules, final_parts
from ontogeny.snapshots.hooks import HookedModel
from snapshots.tiny_models import VOCABULARY, build_model

DOCUMENTS = Documents.of([np.random.default_rng(3).integers(3, VOCABULARY, size) for size in (9, 6, 2, 12)])
TOKENS = np.array([0, 20, 3, 7, 13, 15, 24, 11])


def tiny_model(name: str, dtype: torch.dtype = torch.float64) -> HookedModel:
    torch.manual_seed(0)
    return HookedModel(build_model(name).to(dtype))


def grouped_parameters(model: HookedModel) -> dict[torch.nn.Parameter, tuple[str, int | None]]:
    """Every parameter's group and layer, a tied unembedding among the embeddings."""
    parts = [*(part for layer in range(model.n_layers) for part in block_parts(model, layer)), *final_parts(model)]
    home = {getattr(part.module, part.name): (part.group, part.layer) for part in parts}
    tables, norms = embedding_modules(model)
    home.update({table.weight: ("embeddings", None) for table in tables})
    home.update({getattr(part.module, part.name): ("embeddings", None) for part in norms})
    assert model.architecture is not None
    for parameter in model.module.get_submodule(model.architecture.unembedding).parameters():
        home.setdefault(parameter, ("unembedding", None))
    return home


def published_parts(model: HookedModel) -> list[Part]:
    parts = [*final_parts(model), *(part for layer in range(model.n_layers) for part in block_parts(model, layer))]
    return [part for part in parts if part.group in PUBLISHED]


def whole_gradients(model: HookedModel, tokens: np.ndarray, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    """[token *shape] of every parameter."""
    rows: list[list[Tensor]] = [[] for _ in parameters]
    for document, place in zip(*DOCUMENTS.locate(tokens)):
        ids = torch.from_numpy(DOCUMENTS.document(int(document)))
        loss = -model(ids[None]).logits[0][place - 1].log_softmax(-1)[ids[place]]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for row, parameter, gradient in zip(rows, parameters, found):
            row.append(torch.zeros_like(parameter) if gradient is None else gradient)
    return [torch.stack(row) for row in rows]


def cosines(gradients: Tensor) -> np.ndarray:
    """[token token] of whole gradients [token entry]."""
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    return np.asarray((unit @ unit.T).numpy())
