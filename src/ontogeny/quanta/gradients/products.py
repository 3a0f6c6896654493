"""Matrices of products of samples' gradients, added up in blocks of which only one triangle is computed."""

from jaxtyping import Float
from torch import Tensor

from ontogeny.quanta.gradients.kept import Kept

ROW_BLOCK = 128
"""Rows of one product: few, so that little below the diagonal is computed, and enough for the full rate."""


def add_products(total: Float[Tensor, "sample sample"], gradients: Kept) -> None:
    """total += gradients gradientsᵀ, on and above the diagonal; products in float32 or 64, sums in total's type."""
    for chunk in gradients.chunks():
        for start in range(0, len(total), ROW_BLOCK):
            total[start : start + ROW_BLOCK, start:] += chunk[start : start + ROW_BLOCK] @ chunk[start:].T


def add_cross(total: Float[Tensor, "row column"], gradients: Kept, rows: slice, columns: slice) -> None:
    """total += gradients[rows] gradients[columns]ᵀ; products and sums as in `add_products`."""
    for chunk in gradients.chunks():
        total += chunk[rows] @ chunk[columns].T


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
