"""Count-sketches of gradients: every entry goes, with a random sign, to one of k numbers of its group."""

import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.quanta.gradients.forms import Form, make_gradient
from ontogeny.quanta.gradients.parameters import Part
from ontogeny.quanta.gradients.pieces import Piece
from ontogeny.quanta.gradients.sums import Sums
from ontogeny.quanta.gradients.taps import Flow

BLOCK_ENTRIES = 1 << 18
"""Of one parameter, hashed at once."""


class SketchSums(Sums):
    """[sample number] by group (and layer), float32 or 64.

    Products of sketches are without bias, and their cosines have an error of about (1 − c²) / √k. Entries are dealt out
    evenly, so a number gets as many as any other. Nothing else is kept: N · k numbers instead of N · parameters.
    Source: Charikar, Chen and Farach-Colton 2002.
    """

    outer = False

    def __init__(
        self,
        n_samples: int,
        n_numbers: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        by_layer: bool = False,
        forms: Sequence[Form] = (),
    ) -> None:
        super().__init__()
        self.n_samples, self.n_numbers, self.device, self.dtype = n_samples, n_numbers, device, dtype
        self.by_layer, self.forms = by_layer, tuple(forms)
        self._deals: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def fixed_bytes(self, n_groups: int, n_layers: int) -> int:
        # The sketches, and the matrices that are made of them in the end with two to put samples back into order.
        n_matrices = n_groups * (n_layers if self.by_layer else 1)
        return (n_matrices * self.n_numbers + (n_matrices + 2) * self.n_samples) * self.n_samples * self.dtype.itemsize

    def take(self, piece: Piece, flow: Flow) -> None:
        part = piece.part
        total = self.at(part.sum_name(self.by_layer), (self.n_samples, self.n_numbers), self.dtype, self.device)
        rows = max(1, BLOCK_ENTRIES // part.width)
        for start in range(piece.start, piece.stop, rows):
            block = Piece(part, start, min(piece.stop, start + rows))
            values = make_gradient(self.forms, block, flow).to(self.dtype)
            total[flow.batch] += self._sketch(part, start, values)

    def end(self) -> None:
        self._deals.clear()

    def _sketch(self, part: Part, start: int, values: Float[Tensor, "sample entry"]) -> Float[Tensor, "sample number"]:
        key = (part.parameter, start)
        if key not in self._deals:
            self._deals[key] = self._deal(key, values.shape[1])
        places, signs = self._deals[key]
        padded = torch.nn.functional.pad(values * signs.to(values), (0, len(places) - values.shape[1]))
        return padded.index_select(1, places).view(len(values), -1, self.n_numbers).sum(dim=1)

    def _deal(self, key: tuple[str, int], n_entries: int) -> tuple[Tensor, Tensor]:
        """A random order of entries, padded to whole rounds of the numbers, and a sign each; the same in every run."""
        random = torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))
        rounds = -(-n_entries // self.n_numbers)
        places = torch.randperm(rounds * self.n_numbers, generator=random, dtype=torch.int32)
        signs = torch.randint(0, 2, (n_entries,), generator=random, dtype=torch.int8) * 2 - 1
        return places.to(self.device), signs.to(self.device)
