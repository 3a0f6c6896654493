"""Matrices of products of samples' gradients, added up in blocks of which only one triangle is computed."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

ROW_BLOCK = 128
"""Rows of one product: few, so that little below the diagonal is computed, and enough for the full rate."""
CHUNK_CELLS = 1 << 22
"""Numbers widened for one product (16 MiB)."""


def add_products(total: Float[Tensor, "sample sample"], gradients: Float[Tensor, "sample entry"]) -> None:
    """total += gradients gradientsᵀ, on and above the diagonal; products in float32 or 64, sums in total's type."""
    for chunk in _chunks(gradients, len(gradients)):
        for start in range(0, len(total), ROW_BLOCK):
            total[start : start + ROW_BLOCK, start:] += chunk[start : start + ROW_BLOCK] @ chunk[start:].T


def add_cross(
    total: Float[Tensor, "row column"], rows: Float[Tensor, "row entry"], columns: Float[Tensor, "column entry"]
) -> None:
    """total += rows columnsᵀ; products and sums as in `add_products`."""
    for left, right in zip(_chunks(rows, len(columns)), _chunks(columns, len(columns)), strict=True):
        total += left @ right.T


def _chunks(gradients: Float[Tensor, "sample entry"], n_samples: int) -> Iterator[Tensor]:
    compute = torch.float64 if gradients.dtype == torch.float64 else torch.float32
    step = max(ROW_BLOCK, CHUNK_CELLS // n_samples)
    for column in range(0, gradients.shape[1], step):
        yield gradients[:, column : column + step].to(compute)


def add_rank_one(
    total: Float[Tensor, "sample sample"], left: Float[Tensor, "sample out"], right: Float[Tensor, "sample in"]
) -> None:
    """total += (left leftᵀ) ⊙ (right rightᵀ): products of the gradients left_i right_iᵀ, on and above the diagonal."""
    for start in range(0, len(total), ROW_BLOCK):
        rows = slice(start, start + ROW_BLOCK)
        total[rows, start:] += (left[rows] @ left[start:].T).to(total) * (right[rows] @ right[start:].T)


def mirror(total: Float[Tensor, "sample sample"]) -> Float[Tensor, "sample sample"]:
    """The whole symmetric matrix from its upper triangle."""
    return total.triu() + total.triu(1).T
