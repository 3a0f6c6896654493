"""The code cache, read: every active pair of a pass on disk, by token and by latent, memory-mapped.

cache.json                      what it holds, whose codes they are, sizes and checksums; written last
rows.latent, rows.value         [pair] in order of token: 16- or 32-bit latent, float32 value: at most 8 bytes a pair
rows.end                        [token] int64: where the token's pairs end
latents.token, latents.value    [pair] in order of latent, then of token: int32, float32: 8 bytes a pair
latents.end                     [latent] int64
tokens.*                        [token] int32: token, document, position, row, text_source
gate.norms, gate.cut            decoder norms [latent source], and the cuts where there is a gate per source

Values and cuts are kept as they were encoded, so codes and gates read back are equal, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.codes import Codes, SourceGate
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.sparse import Pattern
from ontogeny.errors import StoreError
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.growing import checksum, map_tensor
from ontogeny.latents.transpose import iter_spans, span_of
from ontogeny.workspace import read_json

META = "cache.json"
FORMAT = 1
COLUMNS = tuple(f"tokens.{field.name}" for field in fields(TokenColumns))
CURE = "delete it and analyze again: the pass is made anew."


@dataclass(frozen=True)
class CodeCache:
    """Codes on disk; arrays are memory maps. Open one with `open_code_cache`."""

    directory: Path
    meta: dict[str, Any]

    @property
    def n_tokens(self) -> int:
        """Tokens of the pass."""
        return int(self.meta["n_tokens"])

    @property
    def n_latents(self) -> int:
        """Latents of the dictionary."""
        return int(self.meta["n_latents"])

    @property
    def n_pairs(self) -> int:
        """Active pairs."""
        return int(self.meta["n_pairs"])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that the dictionary writes."""
        return tuple(self.meta["sources"])

    @property
    def dictionary_id(self) -> str:
        """The dictionary whose codes these are."""
        return str(self.meta["dictionary_id"])

    @cached_property
    def columns(self) -> TokenColumns:
        """Where every token of the pass comes from; [token]."""
        return TokenColumns(*(self._map(name) for name in COLUMNS))

    def columns_of(self, tokens: slice) -> TokenColumns:
        """Where some tokens of the pass come from."""
        return TokenColumns(*(np.array(getattr(self.columns, field.name)[tokens]) for field in fields(TokenColumns)))

    @cached_property
    def counts(self) -> Int[np.ndarray, " latent"]:
        """Tokens on which each latent is on in any source."""
        return np.diff(self._map("latents.end"), prepend=0)

    @cached_property
    def norms(self) -> Float[np.ndarray, "latent source"]:
        """Decoder norms in the normalised space."""
        return np.array(self._map("gate.norms"))

    @property
    def gate_per(self) -> Literal["latent", "source", "token"] | None:
        """What the cut of the gate per source is one of; None where one gate serves all sources."""
        per: Literal["latent", "source", "token"] | None = self.meta["gate"]["per"]
        return per

    @cached_property
    def cut(self) -> Float[np.ndarray, "..."] | None:
        """The cuts of the gate: [latent], [source] or [token source]; None where one gate serves all sources."""
        return None if self.gate_per is None else self._map("gate.cut")

    def codes(self, start: int, stop: int, device: str | torch.device = "cpu") -> Codes:
        """The codes of the tokens `start:stop` of the pass, as they were encoded."""
        ends = self._map("rows.end")
        pairs = span_of(ends, start, stop)
        pointer = np.concatenate([[pairs.start], ends[start:stop]]) - pairs.start
        latents = self._map("rows.latent")[pairs].astype(np.int64)
        pattern = Pattern(torch.from_numpy(latents).to(device), torch.from_numpy(pointer).to(device), self.n_latents)
        norms, gate = torch.from_numpy(self.norms).to(device), None
        if self.gate_per is not None and self.cut is not None:
            cut = np.array(self.cut[start:stop] if self.gate_per == "token" else self.cut)
            gate = SourceGate(norms, torch.from_numpy(cut).to(device), self.gate_per, self.meta["gate"]["window"])
        values = torch.from_numpy(np.array(self._map("rows.value")[pairs])).to(device)
        return Codes(values, norms, pattern, gate)

    def rows(self, corpus_row: int) -> slice:
        """The tokens of the pass that lie in a corpus row; empty where none does."""
        row = self.columns.row
        return slice(int(np.searchsorted(row, corpus_row)), int(np.searchsorted(row, corpus_row, side="right")))

    def latent(self, latent: int) -> tuple[Int[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
        """The tokens of the pass on which a latent is on, ascending, and its values there."""
        block = self.block(latent, latent + 1)
        return block.tokens, block.values

    def block(self, start: int, stop: int) -> LatentBlock:
        """All pairs of the latents `start:stop`."""
        ends = self._map("latents.end")
        pairs = span_of(ends, start, stop)
        tokens, values = (np.array(self._map(f"latents.{name}")[pairs]) for name in ("token", "value"))
        cut = self.cut[start:stop] if self.gate_per == "latent" and self.cut is not None else self.cut
        pointer = np.concatenate([[pairs.start], ends[start:stop]]) - pairs.start
        return LatentBlock(start, pointer, tokens, values, self.norms[start:stop], self.gate_per, cut)

    def iter_blocks(self, max_pairs: int = 1 << 22, max_latents: int | None = None) -> Iterator[LatentBlock]:
        """All latents in blocks of at most so many pairs (or of one latent) and so many latents."""
        for start, stop in iter_spans(self._map("latents.end"), max_pairs, max_latents):
            yield self.block(start, stop)

    def check_made_by(self, dictionary: Crosscoder, dictionary_id: str | None = None) -> None:
        """StoreError unless the codes are this dictionary's: by its id where that is known, by its decoder norms."""
        told = f"the codes in {self.directory} are those of dictionary {self.dictionary_id}"
        if dictionary_id is not None and dictionary_id != self.dictionary_id:
            raise StoreError(f"{told}, not of {dictionary_id}; give that dictionary, or make the codes of this one.")
        norms = dictionary.decoder_norms().detach().float().cpu().numpy()
        if norms.shape != self.norms.shape or not np.array_equal(norms, self.norms):
            raise StoreError(f"{told}, whose decoder norms are not those of the dictionary given; give that one.")

    def verify(self) -> None:
        """Read every byte; StoreError names a file that was altered since it was written."""
        for name, expected in self.meta["files"].items():
            if checksum(self.directory / name) != expected["crc32"]:
                raise StoreError(f"{self.directory / name} was altered since it was written: {CURE}")

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        return {}

    def _map(self, name: str) -> np.ndarray:
        if name not in self._maps:
            self._maps[name] = map_tensor(self.directory / f"{name}.safetensors")
        return self._maps[name]


def open_code_cache(directory: Path, dictionary_id: str | None = None) -> CodeCache:
    """Open what `CodeCacheWriter` left; sizes are checked, `verify` reads all bytes.

    StoreError where there is no whole cache, where a file has another size than it was written with, and where
    `dictionary_id` is not the one whose codes these are.
    """
    file = Path(directory) / META
    if not file.is_file():
        raise StoreError(f"{directory} holds no whole code cache; `ontogeny analyze` makes one, or goes on with it.")
    meta = read_json(file)
    if meta["format"] != FORMAT:
        raise StoreError(f"{file} has format {meta['format']}, this version reads {FORMAT}: {CURE}")
    for name, expected in meta["files"].items():
        path = file.parent / name
        if not path.is_file() or path.stat().st_size != expected["bytes"]:
            raise StoreError(f"{path} is missing or torn: {CURE}")
    if dictionary_id is not None and dictionary_id != meta["dictionary_id"]:
        raise StoreError(
            f"the codes in {directory} are those of dictionary {meta['dictionary_id']}, not of {dictionary_id}; "
            "give that dictionary, or make the codes of this one."
        )
    return CodeCache(file.parent, meta)
