"""Products of gradients on disk: one safetensors file, a matrix for each parameter group (and layer)."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from ontogeny.quanta.similarity import GradientGram
from ontogeny.workspace import write_bytes

FILE = "gram.safetensors"
TOKENS = "tokens"


def save_gram(gram: GradientGram, folder: Path) -> None:
    """Write a gram, float32: cosines are good to some 1e-7."""
    tensors = {_key(*key): np.ascontiguousarray(each, dtype=np.float32) for key, each in gram.products.items()}
    write_bytes(folder / FILE, save({TOKENS: gram.tokens.astype(np.int64), **tensors}))


def load_gram(folder: Path) -> GradientGram:
    """A gram that `save_gram` wrote."""
    tensors = load_file(folder / FILE)
    tokens = tensors.pop(TOKENS)
    return GradientGram(tokens, {_group(name): each for name, each in tensors.items()})


def _key(group: str, layer: int | None) -> str:
    return group if layer is None else f"{group}@{layer}"


def _group(name: str) -> tuple[str, int | None]:
    group, _, layer = name.partition("@")
    return group, int(layer) if layer else None
