"""What is added up while gradients stream by: products of all pairs, products with landmarks, squared lengths."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.quanta.gradients.forms import Form, keeps_outer, make_gradient
from ontogeny.quanta.gradients.pieces import Piece
from ontogeny.quanta.gradients.products import add_cross, add_products, add_rank_one

SQUARES = "squares"


class Sums:
    """Named tensors to which a stream of gradients adds; `touched` names those changed since they were last kept.

    A pass is begun with its pieces, takes every piece of every batch, and is ended.
    """

    kept_bytes = 0
    """Of every gradient entry of every sample, while a pass lasts."""
    outer = True
    """Whether outer products are taken as two vectors."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.touched: set[str] = set()

    def fixed_bytes(self, n_groups: int, n_layers: int) -> int:
        """Of the tensors themselves."""
        return 0

    def at(self, name: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor to add to, zeros at first."""
        if name not in self.values:
            self.values[name] = torch.zeros(*shape, dtype=dtype, device=device)
        self.touched.add(name)
        return self.values[name]

    def begin(self, pieces: Sequence[Piece]) -> None:
        """A pass over these pieces."""

    def take(
        self,
        piece: Piece,
        batch: slice,
        entering: Float[Tensor, "sample ..."],
        gradient: Float[Tensor, "sample ..."],
        real: Bool[Tensor, "sample position"],
    ) -> None:
        """What entered a piece's module and the gradient at what left it; `real` tells positions from padding."""
        raise AssertionError("sums that take nothing")

    def end(self) -> None:
        """All batches were taken."""


class PairSums(Sums):
    """g_i · g_j of all pairs, [sample sample] by group (and layer): the triangle on and above the diagonal.

    Long gradients are kept in `storage`, short ones and outer products in float32 at least: they cost little, and
    with few entries rounding does not average out.
    """

    def __init__(
        self,
        n_samples: int,
        storage: torch.dtype,
        accumulate: torch.dtype,
        device: torch.device,
        by_layer: bool = False,
        forms: Sequence[Form] = (),
    ) -> None:
        super().__init__()
        self.n_samples, self.storage, self.accumulate, self.device = n_samples, storage, accumulate, device
        self.by_layer, self.forms, self.outer = by_layer, tuple(forms), keeps_outer(forms)
        self.kept_bytes = storage.itemsize
        self._kept: dict[Piece, Tensor] = {}
        # One buffer for all passes: fresh pages cost as much as filling them.
        self._buffer = torch.empty(0, dtype=storage, device=device)

    def fixed_bytes(self, n_groups: int, n_layers: int) -> int:
        matrices = n_groups * (n_layers if self.by_layer else 1) + 2  # two to put samples back into order
        return matrices * self.n_samples**2 * self.accumulate.itemsize

    def total(self, name: str) -> Tensor:
        """A matrix to add to."""
        return self.at(name, (self.n_samples, self.n_samples), self.accumulate, self.device)

    def begin(self, pieces: Sequence[Piece]) -> None:
        needed = sum(piece.entries for piece in pieces if piece.is_long) * self.n_samples
        if needed > len(self._buffer):
            self._buffer = torch.empty(0, dtype=self.storage, device=self.device)
            self._buffer = torch.empty(needed, dtype=self.storage, device=self.device)
        wide = torch.float64 if self.storage == torch.float64 else torch.float32
        start = 0
        for piece in pieces:
            if piece.is_long:
                stop = start + piece.entries * self.n_samples
                self._kept[piece] = self._buffer[start:stop].view(self.n_samples, -1)
                start = stop
            else:
                self._kept[piece] = torch.empty(self.n_samples, piece.entries, dtype=wide, device=self.device)

    def take(
        self,
        piece: Piece,
        batch: slice,
        entering: Float[Tensor, "sample ..."],
        gradient: Float[Tensor, "sample ..."],
        real: Bool[Tensor, "sample position"],
    ) -> None:
        make_gradient(self.forms, piece, batch, entering, gradient, self._kept[piece][batch])

    def end(self) -> None:
        for piece in list(self._kept):
            self.add(piece.part.sum_name(self.by_layer), piece, self._kept.pop(piece))

    def add(self, name: str, piece: Piece, kept: Float[Tensor, "sample entry"]) -> None:
        """Add a piece's products."""
        if piece.outer:
            add_rank_one(self.total(name), *kept.split([piece.part.rows, piece.part.width], dim=1))
        else:
            add_products(self.total(name), kept)


class CrossSums(PairSums):
    """g_i · g_j of the samples `rows` with the samples `columns`, and every sample's g · g."""

    def __init__(self, rows: slice, columns: slice, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)  # type: ignore[arg-type]
        self.rows, self.columns = rows, columns

    def total(self, name: str) -> Tensor:
        shape = [span.stop - span.start for span in (self.rows, self.columns)]
        return self.at(name, shape, self.accumulate, self.device)

    def add(self, name: str, piece: Piece, kept: Float[Tensor, "sample entry"]) -> None:
        squares = self.at(f"{SQUARES}:{name}", (self.n_samples,), torch.float64, self.device)
        squares += squared_lengths(piece, kept)
        if not piece.outer:
            add_cross(self.total(name), kept, self.rows, self.columns)
            return
        left, right = kept.split([piece.part.rows, piece.part.width], dim=1)
        self.total(name).add_((left[self.rows] @ left[self.columns].T) * (right[self.rows] @ right[self.columns].T))


class LengthSums(Sums):
    """g · g of every sample, over all groups."""

    def __init__(self, n_samples: int, device: torch.device, forms: Sequence[Form] = ()) -> None:
        super().__init__()
        self.n_samples, self.device, self.forms, self.outer = n_samples, device, tuple(forms), keeps_outer(forms)

    def take(
        self,
        piece: Piece,
        batch: slice,
        entering: Float[Tensor, "sample ..."],
        gradient: Float[Tensor, "sample ..."],
        real: Bool[Tensor, "sample position"],
    ) -> None:
        squares = self.at(SQUARES, (self.n_samples,), torch.float64, self.device)
        squares[batch] += squared_lengths(piece, make_gradient(self.forms, piece, batch, entering, gradient))


def squared_lengths(piece: Piece, kept: Float[Tensor, "sample entry"]) -> Float[Tensor, " sample"]:
    """Σ of squared entries, of an outer product |b|² |a|²; sums in float64 over float32 blocks."""
    if piece.outer:
        left, right = kept.split([piece.part.rows, piece.part.width], dim=1)
        return left.double().square().sum(dim=1) * right.double().square().sum(dim=1)
    wide = kept if kept.dtype == torch.float64 else kept.float()
    return torch.stack([each.square().sum(dim=1).double() for each in wide.split(4096, dim=1)]).sum(dim=0)
