"""Groups of a pass's tokens: text sources, masks (control tokens, roles), places in the row; as bits of a number."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ontogeny.activations.stream import TokenColumns
from ontogeny.evaluation.groups import ALL, TokenGroups
from ontogeny.latents.documents import Documents
from ontogeny.tokens.corpus import Corpus

CHUNK = 1 << 20
"""Tokens looked up at a time."""


@dataclass(frozen=True)
class GroupsOfPass:
    """Named groups of tokens; they may overlap. Bit g of `bits` says whether the token belongs to group g."""

    names: tuple[str, ...]
    bits: Int[np.ndarray, " token"]

    @classmethod
    def from_columns(cls, columns: TokenColumns, corpus: Corpus | None) -> "GroupsOfPass":
        """`text/NAME` and `mask/NAME` of the corpus, and `position/FROM-TO`: places in the row, in bins that double."""
        groups = TokenGroups(corpus)
        named = groups.names
        last = int(columns.position.max()) if len(columns.position) else -1
        lows = [0, *(1 << power for power in range(last.bit_length()))] if last >= 0 else []
        highs = [low * 2 - 1 if low else 0 for low in lows]
        places = [f"position/{low}" if low >= high else f"position/{low}-{high}" for low, high in zip(lows, highs)]
        bits = np.zeros(len(columns.row), dtype=np.int64)
        for start in range(0, len(bits), CHUNK):
            part = slice(start, start + CHUNK)
            row, position = np.asarray(columns.row[part]), np.asarray(columns.position[part])
            inside = [*groups.members(row, position)]
            inside += [(position >= low) & (position <= high) for low, high in zip(lows, highs)]
            for bit, member in enumerate(inside):
                bits[part] |= member.astype(np.int64) << bit
        every = (*named, *places)
        assert len(every) < 63, f"{len(every)} groups are more than a number has bits"
        occupied = [bit for bit, name in enumerate(every) if name != ALL and bool(((bits >> bit) & 1).any())]
        kept = np.zeros_like(bits)
        for place, bit in enumerate(occupied):
            kept |= ((bits >> bit) & 1) << place
        return cls(tuple(every[bit] for bit in occupied), kept)

    def sizes(self, documents: Documents) -> Int[np.ndarray, "group document"]:
        """Tokens of each group in each document."""
        members = (documents.of[self.member(name)] for name in self.names)
        return np.stack([np.bincount(each, minlength=documents.n_documents) for each in members])

    def member(self, name: str) -> Bool[np.ndarray, " token"]:
        """Which tokens belong to a group."""
        return (self.bits >> self.names.index(name)) & 1 == 1
