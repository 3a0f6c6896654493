"""The golden case of quanta: its documents, its model, its numbers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.parity import load_case
from ontogeny.quanta.documents import Documents
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.load import load_model
from paths import GOLDEN

FOLDER = GOLDEN / "quanta"


def golden_case() -> tuple[dict[str, Any], dict[str, Tensor]]:
    return load_case(FOLDER / "quanta.safetensors")


def golden_documents(tensors: dict[str, Tensor]) -> Documents:
    offsets = tensors["doc_offsets"].numpy()
    return Documents.of(np.split(tensors["doc_tokens"].numpy(), offsets[1:-1]))


def golden_model(dtype: torch.dtype = torch.float32) -> HookedModel:
    return HookedModel(load_model(str(FOLDER / "model")).to(dtype))
