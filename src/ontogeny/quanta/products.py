"""Matrices of products of samples' gradients, added up in blocks of which only one triangle is computed."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.quanta.parameters import Part

ROW_BLOCK = 512
CHUNK_CELLS = 1 << 22
"""Numbers widened for one product (16 MiB)."""


def add_products(total: Float[Tensor, "sample sample"], gradients: Float[Tensor, "sample entry"]) -> None:
    """total += gradients gradientsᵀ, on and above the diagonal; products in float32 or 64, sums in total's type."""
    n_samples, n_entries = gradients.shape
    compute = torch.float64 if gradients.dtype == torch.float64 else torch.float32
    step = max(ROW_BLOCK, CHUNK_CELLS // n_samples)
    for column in range(0, n_entries, step):
        chunk = gradients[:, column : column + step].to(compute)
        for start in range(0, n_samples, ROW_BLOCK):
            total[start : start + ROW_BLOCK, start:] += chunk[start : start + ROW_BLOCK] @ chunk[start:].T


def add_rank_one(
    total: Float[Tensor, "sample sample"], left: Float[Tensor, "sample out"], right: Float[Tensor, "sample in"]
) -> None:
    """total += (left leftᵀ) ⊙ (right rightᵀ): products of the gradients left_i right_iᵀ, on and above the diagonal."""
    outer, inner = torch.zeros_like(total), torch.zeros_like(total)
    add_products(outer, left)
    add_products(inner, right)
    total += outer * inner


def mirror(total: Float[Tensor, "sample sample"]) -> Float[Tensor, "sample sample"]:
    """The whole symmetric matrix from its upper triangle."""
    return total.triu() + total.triu(1).T


@dataclass(frozen=True)
class Piece:
    """Rows start … stop of a parameter; `last`: its gradient is the outer product of two vectors at one position."""

    part: Part
    start: int
    stop: int
    last: bool = False

    @property
    def entries(self) -> int:
        """Numbers kept for a sample."""
        return self.part.rows + self.part.width if self.last else (self.stop - self.start) * self.part.width

    def fill(
        self,
        target: Float[Tensor, "sample entry"],
        entering: Float[Tensor, "sample ..."],
        gradient: Float[Tensor, "sample ..."],
        ends: Int[Tensor, " sample"],
    ) -> None:
        """Write the samples' gradients; `ends` is the last position of each."""
        if not self.last:
            target.copy_(self.part.gradient(entering, gradient, self.start, self.stop))
            return
        sample = torch.arange(len(ends))
        at_end = gradient[sample, ends]
        rest = gradient.clone()
        rest[sample, ends] = 0
        assert not bool(rest.any()), "a gradient before the last position where causality allows none"
        target.copy_(torch.cat([at_end, entering[sample, ends]], dim=1))

    def add(self, total: Float[Tensor, "sample sample"], kept: Float[Tensor, "sample entry"]) -> None:
        """Add this piece's products."""
        if self.last:
            add_rank_one(total, kept[:, : self.part.rows], kept[:, self.part.rows :])
        else:
            add_products(total, kept)


def plan_passes(parts: list[Part], last: set[Part], capacity: int) -> list[list[Piece]] | None:
    """Pieces in passes that keep at most `capacity` numbers a sample each; None if one row of a matrix is too much."""
    passes: list[list[Piece]] = [[]]
    room = capacity
    for part in parts:
        whole = Piece(part, 0, part.rows, part in last)
        start = 0
        while start < part.rows:
            fits = whole.entries <= room if whole.last else part.width <= room
            if not fits:
                if room == capacity:
                    return None
                passes.append([])
                room = capacity
                continue
            stop = part.rows if whole.last else min(part.rows, start + room // part.width)
            piece = Piece(part, start, stop, whole.last)
            passes[-1].append(piece)
            room -= piece.entries
            start = stop
    return passes
