"""The code cache, written: batch by batch along a pass, sorted by latent at its end; `cache.py` has the layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError, StoreError
from ontogeny.latents.cache import COLUMNS, FORMAT, META, CodeCache, open_code_cache
from ontogeny.latents.growing import GrowingTensor, checksum, held_length, map_tensor
from ontogeny.latents.transpose import NARROW, PairsByToken, write_by_latent
from ontogeny.workspace import write_json


@dataclass(frozen=True)
class CachePlace:
    """How much of a cache is written: tokens, and their pairs; and how its gate is cut, once that is known."""

    n_tokens: int = 0
    n_pairs: int = 0
    gate: dict[str, Any] | None = None


class CodeCacheWriter:
    """Takes the codes of a pass, batch after batch, and leaves a code cache.

    `dictionary_id` names the dictionary for good (its artifact's id). `max_pairs` bounds the memory of the sort by
    latent. A directory without `cache.json` is no cache; `rewind` goes on with what a killed pass left there.
    DictionaryError for weights in another format than float32, whose codes and gates would not come back the same.
    """

    def __init__(
        self, directory: Path, dictionary: Crosscoder, dictionary_id: str, *, max_pairs: int = 1 << 22
    ) -> None:
        if dictionary.W_enc.dtype != torch.float32:
            raise DictionaryError(
                f"a code cache holds float32 values and these weights are {dictionary.W_enc.dtype}; convert them with "
                "dictionary.float()."
            )
        self.directory, self.dictionary_id, self.max_pairs = directory, dictionary_id, max_pairs
        self.sources = dictionary.sources_out
        self.n_latents = dictionary.n_latents
        self.place = CachePlace()
        self.files: dict[str, GrowingTensor] = {}

    def rewind(self, place: CachePlace) -> bool:
        """Keep what was written up to this place, drop what is behind it; False where less than that is there."""
        self.close()
        held = all(
            held_length(self._path(name), dtype, width) >= length
            for name, (dtype, width, length) in self._shapes(place).items()
        )
        self.place = place if held else CachePlace()
        return held

    def append(self, codes: Codes, columns: TokenColumns) -> None:
        """Add the codes of the tokens that follow."""
        if self.place.gate is None:
            self._begin(codes)
        self._open()
        ends = codes.row_pointer[1:].cpu().numpy() + self.place.n_pairs
        rows = {"rows.latent": codes.indices.cpu().numpy(), "rows.value": _floats(codes.values), "rows.end": ends}
        rows |= {name: getattr(columns, name.removeprefix("tokens.")) for name in COLUMNS}
        if codes.source_gate is not None and codes.source_gate.per == "token":
            rows["gate.cut"] = _floats(codes.source_gate.cut)
        for name, values in rows.items():
            self.files[name].append(values)
        n_tokens, n_pairs = self.place.n_tokens + codes.n_tokens, self.place.n_pairs + codes.values.numel()
        self.place = CachePlace(n_tokens, n_pairs, self.place.gate)

    def sync(self) -> CachePlace:
        """Everything up to the place returned outlives a kill."""
        for file in self.files.values():
            file.sync()
        return self.place

    def finish(self) -> CodeCache:
        """Sort by latent, declare the cache whole, and open it."""
        assert self.place.gate is not None, "a cache without a token: append first"
        self._open()
        for file in self.files.values():
            file.finish()
        self.files = {}
        latents, values, ends = (map_tensor(self._path(f"rows.{name}")) for name in ("latent", "value", "end"))
        write_by_latent(PairsByToken(latents, values, ends), self.n_latents, self.directory, "latents", self.max_pairs)
        paths = sorted(self.directory.glob("*.safetensors"))
        meta = {
            "format": FORMAT,
            "dictionary_id": self.dictionary_id,
            "sources": list(self.sources),
            "n_tokens": self.place.n_tokens,
            "n_latents": self.n_latents,
            "n_pairs": self.place.n_pairs,
            "gate": self.place.gate,
            "files": {path.name: {"bytes": path.stat().st_size, "crc32": checksum(path)} for path in paths},
        }
        write_json(self.directory / META, meta)
        return open_code_cache(self.directory)

    def close(self) -> None:
        """Close the files as they are."""
        for file in self.files.values():
            file.close()
        self.files = {}

    def _begin(self, codes: Codes) -> None:
        """Write what does not depend on the token."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / META).unlink(missing_ok=True)
        self._write("gate.norms", codes.norms)
        gate = codes.source_gate
        described: dict[str, Any] = {"per": None, "window": None}
        if gate is not None:
            described = {"per": gate.per, "window": gate.window}
            assert torch.equal(gate.norms, codes.norms), "a gate with norms of its own"
            if gate.per != "token":
                self._write("gate.cut", gate.cut)
        self.place = CachePlace(gate=described)

    def _open(self) -> None:
        """Open the files at the current place, if they are not open."""
        if self.files or self.place.gate is None:
            return
        self.files = {
            name: GrowingTensor(self._path(name), dtype, width, length)
            for name, (dtype, width, length) in self._shapes(self.place).items()
        }

    def _shapes(self, place: CachePlace) -> dict[str, tuple[str, int | None, int]]:
        """Number format, width and length of what grows, at a place."""
        narrow = "uint16" if self.n_latents <= NARROW else "int32"
        shapes: dict[str, tuple[str, int | None, int]] = {
            "rows.latent": (narrow, None, place.n_pairs),
            "rows.value": ("float32", None, place.n_pairs),
            "rows.end": ("int64", None, place.n_tokens),
            **dict.fromkeys(COLUMNS, ("int32", None, place.n_tokens)),
        }
        if place.gate is not None and place.gate["per"] == "token":
            shapes["gate.cut"] = ("float32", len(self.sources), place.n_tokens)
        return shapes

    def _write(self, name: str, values: Tensor) -> None:
        file = GrowingTensor(self._path(name), "float32", values.shape[1] if values.ndim == 2 else None)
        file.append(_floats(values))
        file.finish()

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.safetensors"


def join_code_caches(parts: Sequence[CodeCache], writer: CodeCacheWriter, batch_size: int = 1 << 15) -> CodeCache:
    """One cache of several parts' tokens, in the order given: for passes that several processes shared."""
    for part in parts:
        if part.dictionary_id != writer.dictionary_id:
            raise StoreError(
                f"the codes in {part.directory} are those of dictionary {part.dictionary_id}, not of "
                f"{writer.dictionary_id}; join parts of one dictionary."
            )
        for start in range(0, part.n_tokens, batch_size):
            stop = min(start + batch_size, part.n_tokens)
            writer.append(part.codes(start, stop), part.columns_of(slice(start, stop)))
    return writer.finish()


def _floats(values: Tensor) -> Float[np.ndarray, "..."]:
    return values.detach().float().cpu().numpy()
