"""What is added up while gradients stream by: products of all pairs, products with landmarks, squared lengths."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.quanta.gradients.forms import Form, keeps_outer, make_gradient
from ontogeny.quanta.gradients.kept import Kept
from ontogeny.quanta.gradients.pieces import Piece
from ontogeny.quanta.gradients.products import ROW_BLOCK, add_cross, add_products, add_rank_one
from ontogeny.quanta.gradients.taps import Flow

SQUARES = "squares"
TOGETHER = "together"
"""Sums over all groups."""


class Sums:
    """Named tensors to which a stream of gradients adds; `touched` names those changed since they were last kept.

    A pass is begun with its pieces, takes every piece of every batch, and is ended.
    """

    kept_bytes = 0.0
    """Of every gradient entry, over the samples whose gradients are kept while a pass lasts."""
    n_products = 0
    """Made of every gradient entry."""
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

    def take(self, piece: Piece, flow: Flow) -> None:
        """Add the gradients of a piece of that module."""
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
        self.n_kept, self.n_products = n_samples, n_samples**2
        self._kept: dict[Piece, Kept] = {}
        # One buffer for all passes: fresh pages cost as much as filling them.
        self._buffer = torch.empty(0, dtype=storage, device=device)

    @property
    def kept_bytes(self) -> float:  # type: ignore[override]
        return self.n_kept * Kept.count_bytes(self.storage)

    def fixed_bytes(self, n_groups: int, n_layers: int) -> int:
        matrices = n_groups * (n_layers if self.by_layer else 1) + 2  # two to put samples back into order
        return matrices * self.n_products * self.accumulate.itemsize

    def total(self, name: str) -> Tensor:
        """A matrix to add to."""
        return self.at(name, (self.n_samples, self.n_samples), self.accumulate, self.device)

    def begin(self, pieces: Sequence[Piece]) -> None:
        needed = sum(piece.entries for piece in pieces if piece.is_long) * self.n_kept
        if needed > len(self._buffer):
            self._buffer = torch.empty(0, dtype=self.storage, device=self.device)
            self._buffer = torch.empty(needed, dtype=self.storage, device=self.device)
        wide = torch.float64 if self.storage == torch.float64 else torch.float32
        start = 0
        for piece in pieces:
            if piece.is_long:
                stop = start + piece.entries * self.n_kept
                self._kept[piece] = Kept(self._buffer[start:stop].view(self.n_kept, -1))
                start = stop
            else:
                short = torch.empty(self.n_kept, piece.entries, dtype=wide, device=self.device)
                self._kept[piece] = Kept(short)

    def take(self, piece: Piece, flow: Flow) -> None:
        kept = self._kept[piece]
        kept.keep_rest(flow.batch, make_gradient(self.forms, piece, flow, kept.values[flow.batch]))

    def end(self) -> None:
        for piece in list(self._kept):
            self.add(piece.part.sum_name(self.by_layer), piece, self._kept.pop(piece))

    def add(self, name: str, piece: Piece, kept: Kept) -> None:
        """Add a piece's products."""
        if piece.outer:
            add_rank_one(self.total(name), *kept.values.split([piece.part.rows, piece.part.width], dim=1))
        else:
            add_products(self.total(name), kept)


class CrossSums(PairSums):
    """g_i · g_j of the samples `rows` with the samples `columns`, and every sample's g · g.

    The columns come first and their gradients are kept; those of rows stream by, `WAITING` together, so that memory
    does not grow with them but for the products themselves. `together`: one matrix of all groups.
    """

    WAITING = ROW_BLOCK

    def __init__(self, columns: slice, rows: slice, together: bool, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)  # type: ignore[arg-type]
        assert columns.start == 0 and columns.stop == rows.start, "columns come first, and rows behind them"
        self.rows, self.columns, self.together = rows, columns, together
        self.n_columns = columns.stop
        self.n_kept = self.n_columns + self.WAITING
        self.n_products = self.n_columns * (rows.stop - rows.start)
        self._waiting: dict[Piece, slice] = {}

    def fixed_bytes(self, n_groups: int, n_layers: int) -> int:
        return super().fixed_bytes(1 if self.together else n_groups, n_layers)

    def _name(self, piece: Piece) -> str:
        return TOGETHER if self.together else piece.part.sum_name(self.by_layer)

    def total(self, name: str) -> Tensor:
        shape = [span.stop - span.start for span in (self.rows, self.columns)]
        return self.at(name, shape, self.accumulate, self.device)

    def take(self, piece: Piece, flow: Flow) -> None:
        kept, batch = self._kept[piece], flow.batch
        size = batch.stop - batch.start
        assert size <= self.WAITING, "a batch of more samples than may wait"
        start = batch.start
        if batch.start >= self.n_columns:
            waiting = self._waiting.get(piece, slice(batch.start, batch.start))
            if batch.stop - waiting.start > self.WAITING:
                self._add_waiting(piece)
                waiting = slice(batch.start, batch.start)
            start = self.n_columns + batch.start - waiting.start
            self._waiting[piece] = slice(waiting.start, batch.stop)
        here = slice(start, start + size)
        kept.keep_rest(here, make_gradient(self.forms, piece, flow, kept.values[here]))
        squares = self.at(f"{SQUARES}:{self._name(piece)}", (self.n_samples,), torch.float64, self.device)
        squares[batch] += squared_lengths(piece, kept, here)

    def end(self) -> None:
        for piece in list(self._waiting):
            self._add_waiting(piece)
        self._kept.clear()

    def _add_waiting(self, piece: Piece) -> None:
        """Products of the rows that wait with all columns."""
        samples, kept = self._waiting.pop(piece), self._kept[piece]
        columns, rows = slice(0, self.n_columns), slice(self.n_columns, self.n_columns + samples.stop - samples.start)
        here = self.total(self._name(piece))[samples.start - self.n_columns : samples.stop - self.n_columns]
        if not piece.outer:
            add_cross(here, kept, rows, columns)
            return
        left, right = kept.values.split([piece.part.rows, piece.part.width], dim=1)
        here += (left[rows] @ left[columns].T) * (right[rows] @ right[columns].T)


class LengthSums(Sums):
    """g · g of every sample, over all groups."""

    def __init__(self, n_samples: int, device: torch.device, forms: Sequence[Form] = ()) -> None:
        super().__init__()
        self.n_samples, self.device, self.forms, self.outer = n_samples, device, tuple(forms), keeps_outer(forms)

    def take(self, piece: Piece, flow: Flow) -> None:
        squares = self.at(SQUARES, (self.n_samples,), torch.float64, self.device)
        found = Kept(make_gradient(self.forms, piece, flow))
        squares[flow.batch] += squared_lengths(piece, found, slice(None))


def squared_lengths(piece: Piece, kept: Kept, samples: slice) -> Float[Tensor, " sample"]:
    """Σ of squared entries, of an outer product |b|² |a|²; sums in float64 over float32 chunks."""
    if piece.outer:
        left, right = kept.values[samples].double().split([piece.part.rows, piece.part.width], dim=1)
        return left.square().sum(dim=1) * right.square().sum(dim=1)
    return torch.stack([each.square().sum(dim=1).double() for each in kept.chunks(samples)]).sum(dim=0)
