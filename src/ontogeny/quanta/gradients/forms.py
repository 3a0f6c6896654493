"""What is done to gradients before they are multiplied: |g|, the published sparse gradient; whitening is in its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.quanta.gradients.parameters import Part
from ontogeny.quanta.gradients.pieces import Piece
from ontogeny.quanta.gradients.taps import Flow


class Form:
    """A change of gradients; by itself none. Applied to what a linear map's gradient is made from, then to entries."""

    outer: bool = True
    """Whether the outer product of two vectors stays one, so that changing their entries changes it rightly."""

    def vectors(
        self, part: Part, entering: Float[Tensor, "sample ..."], gradient: Float[Tensor, "sample ..."]
    ) -> tuple[Float[Tensor, "sample ..."], Float[Tensor, "sample ..."]]:
        """a and b of G = Σ_t b_t a_tᵀ."""
        return entering, gradient

    def entries(self, piece: Piece, samples: slice, values: Float[Tensor, "sample entry"]) -> Tensor:
        """Entries of G, or of b and a where they are kept in its place."""
        return values


class Absolute(Form):
    """|g|, entry by entry; |b aᵀ| = |b| |a|ᵀ. Source: quantization-model, clustering-0 (`C_abs`)."""

    def entries(self, piece: Piece, samples: slice, values: Float[Tensor, "sample entry"]) -> Tensor:
        return values.abs()


@dataclass(frozen=True)
class Sparse(Form):
    """g / |g| without entries under a threshold. Source: quantization-model, clustering-0 (`sparse`)."""

    lengths: Float[Tensor, " sample"]
    """|g| over all groups."""
    threshold: float
    outer = False

    def entries(self, piece: Piece, samples: slice, values: Float[Tensor, "sample entry"]) -> Tensor:
        shares = values / self.lengths[samples, None].to(values)
        return torch.where(shares.abs() < self.threshold, 0.0, shares)


def keeps_outer(forms: Sequence[Form]) -> bool:
    """Whether outer products stay outer products under all of them."""
    return all(form.outer for form in forms)


def make_gradient(
    forms: Sequence[Form],
    piece: Piece,
    flow: Flow,
    out: Float[Tensor, "sample entry"] | None = None,
) -> Float[Tensor, "sample entry"]:
    """Per-sample entries of a piece, or (b, a) of an outer product; in `out` where nothing changes its entries."""
    entering, gradient = flow.entering, flow.gradient
    for form in forms:
        entering, gradient = form.vectors(piece.part, entering, gradient)
    if piece.outer:
        assert gradient.shape[1] == 1, "an outer product of more than one position"
        values = torch.cat([gradient[:, 0], entering[:, 0]], dim=1)
    else:
        direct = out if out is not None and out.dtype == gradient.dtype == entering.dtype else None
        values = piece.part.gradient(entering, gradient, piece.start, piece.stop, direct)
    for form in forms:
        values = form.entries(piece, flow.batch, values)
    if out is not None and values.data_ptr() != out.data_ptr():
        out.copy_(values)
    return values
