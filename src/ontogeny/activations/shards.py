"""One source's directory on disk: `000000.safetensors` with a checksum beside it, and `meta.json` when all are there.

A shard holds `activations` [token d_model] in written order and `norms` [token] (float32, of the rows before rounding);
int8 adds what undoes it. It is written whole (temporary, fsync, rename), then its sidecar `000000.json`; a shard counts
as done when the sidecar carries the fingerprint asked for and fits the file. So a torn or altered shard is found,
named, and redone by itself.
"""

import json
import mmap
import sys
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor

from ontogeny.activations.batches import bits
from ontogeny.activations.config import StoredDtype
from ontogeny.activations.plan import RowIndex
from ontogeny.activations.quantize import Quantized, dequantize, quantize
from ontogeny.config import content_hash
from ontogeny.errors import StoreError
from ontogeny.types import HookPoint, Snapshot, Source
from ontogeny.workspace import read_json, write_bytes, write_json

META = "meta.json"
FORMAT = 1
FLOATS = {"BF16": torch.bfloat16, "F32": torch.float32}
MADV_POPULATE_READ = 22  # of Linux; not in Python 3.11's mmap
TORCH_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "int8": torch.int8}
CURE = "run `ontogeny harvest` again: it redoes only what is missing or damaged."


@dataclass(frozen=True)
class SourceMeta:
    """What a source's directory holds."""

    source: Source
    fingerprint: str
    plan: str
    dtype: StoredDtype
    d_model: int

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        source = {"snapshot": asdict(self.source.snapshot), "hook_point": str(self.source.hook_point)}
        return {
            "format": FORMAT,
            "source": source,
            "fingerprint": self.fingerprint,
            "plan": self.plan,
            "dtype": self.dtype,
            "d_model": self.d_model,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SourceMeta":
        """The inverse of `to_json`."""
        source = Source(Snapshot(**value["source"]["snapshot"]), HookPoint.parse(value["source"]["hook_point"]))
        return cls(source, value["fingerprint"], value["plan"], value["dtype"], int(value["d_model"]))


def shard_path(directory: Path, shard: int) -> Path:
    """Where a shard lies."""
    return directory / f"{shard:06d}.safetensors"


class ShardWriter:
    """Writes one source's shards into a directory and knows which are still missing.

    `identity` is whatever else decides the bytes: the snapshot's commit or file hashes, the forward pass's dtype.
    """

    def __init__(
        self,
        directory: Path,
        source: Source,
        index: RowIndex,
        *,
        dtype: StoredDtype = "bfloat16",
        identity: Mapping[str, Any] | str | None = None,
    ) -> None:
        self.directory, self.source, self.index, self.dtype = directory, source, index, dtype
        parts = [FORMAT, index.fingerprint, str(source.hook_point), dtype, identity]
        self.fingerprint = content_hash(parts, length=16)
        self.d_model: int | None = None

    @property
    def buffer_dtype(self) -> torch.dtype:
        """The dtype in which rows should arrive."""
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    def missing(self, *, full: bool = True) -> list[int]:
        """Shards that are absent, made for something else, torn or (with `full`, which reads them) altered."""
        shards = range(len(self.index.counts))
        return [shard for shard in shards if find_damage(self.directory, shard, self.fingerprint, full=full)]

    def remove_leftovers(self) -> None:
        """Delete the temporary files of writes that were killed."""
        for path in self.directory.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, shard: int, values: Float[Tensor, "token d_model"], norms: Float[Tensor, "token"]) -> None:
        """Write one shard, then its sidecar; DiskFull where there is no room."""
        assert len(values) == self.index.counts[shard], (
            f"shard {shard}: {len(values)} rows, not {self.index.counts[shard]}"
        )
        self.d_model = values.shape[1]
        tensors = {"norms": norms.to(torch.float32).contiguous()}
        if self.dtype == "int8":
            parts = quantize(values, norms)
            tensors |= {
                "activations": parts.levels,
                "centre": parts.centre,
                "scale": parts.scale,
                "exact_index": parts.exact_index,
                "exact_rows": parts.exact_rows,
            }
        else:
            tensors["activations"] = values.to(self.buffer_dtype).contiguous()
        # One key only: safetensors writes several in random order, and a redone shard must be the same bytes.
        data = save(tensors, metadata={"ontogeny": f"{self.fingerprint} shard {shard}"})
        path = shard_path(self.directory, shard)
        write_bytes(path, data)
        sidecar = {"fingerprint": self.fingerprint, "bytes": len(data), "crc32": zlib.crc32(data)}
        write_json(path.with_suffix(".json"), sidecar)

    def meta(self) -> SourceMeta:
        """What this writer's directory holds; at least one shard must be there."""
        if self.d_model is None:
            self.d_model = read_header(shard_path(self.directory, 0))["activations"]["shape"][1]
        return SourceMeta(self.source, self.fingerprint, self.index.fingerprint, self.dtype, self.d_model)

    def finish(self) -> None:
        """Say that all shards are there."""
        write_json(self.directory / META, self.meta().to_json())


def find_damage(directory: Path, shard: int, fingerprint: str, *, full: bool) -> str | None:
    """What is wrong with a shard, as a clause for a message, or None; `full` reads the whole file."""
    path = shard_path(directory, shard)
    sidecar_path = path.with_suffix(".json")
    if not path.is_file() or not sidecar_path.is_file():
        return "is missing"
    try:
        sidecar = json.loads(sidecar_path.read_text())
    except ValueError:
        return "has an unreadable checksum file"
    if not isinstance(sidecar, dict) or not {"fingerprint", "bytes", "crc32"} <= sidecar.keys():
        return "has an unreadable checksum file"
    if sidecar["fingerprint"] != fingerprint:
        return "was made from other inputs"
    size = path.stat().st_size
    if size != sidecar["bytes"]:
        return f"is torn ({size} of {sidecar['bytes']} bytes)"
    if full and zlib.crc32(path.read_bytes()) != sidecar["crc32"]:
        return "has been altered (its checksum differs)"
    return None


def read_header(path: Path) -> dict[str, Any]:
    """A safetensors header, with every tensor's offsets counted from the beginning of the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = [offset + 8 + length for offset in entry["data_offsets"]]
    return header


class SourceShards:
    """One source's shards, opened for reading.

    Opening checks that every shard is there, of the right size and make; the first whole read of a shard checks its
    bytes too. StoreError names the shard that is damaged.
    """

    def __init__(self, directory: Path, meta: SourceMeta, index: RowIndex) -> None:
        self.directory, self.meta, self.index = directory, meta, index
        self.checked: set[int] = set()

    @classmethod
    def open(cls, directory: Path, index: RowIndex) -> "SourceShards":
        """Open a finished directory made along `index`."""
        path = directory / META
        if not path.is_file():
            raise StoreError(f"{directory} is no finished store of activations (no {META}); {CURE}")
        meta = SourceMeta.from_json(read_json(path))
        if meta.plan != index.fingerprint:
            raise StoreError(
                f"{directory} was written along another token stream ({meta.plan}, not {index.fingerprint}); harvest "
                "it from the same corpus, split, seed and tokens_per_shard as the other sources."
            )
        shards = cls(directory, meta, index)
        for shard in range(len(index.counts)):
            shards.check(shard)
        return shards

    def check(self, shard: int, *, full: bool = False) -> None:
        """StoreError where the shard is damaged."""
        damage = find_damage(self.directory, shard, self.meta.fingerprint, full=full)
        if damage:
            raise StoreError(f"shard {shard_path(self.directory, shard)} {damage}; {CURE}")

    def header(self, shard: int) -> dict[str, Any]:
        """The shard's header, offsets counted from the beginning of the file."""
        return read_header(shard_path(self.directory, shard))

    def read_norms(self, shard: int) -> Float[np.ndarray, "token"]:
        """The norms of a shard's rows, without reading the rows."""
        begin, _ = self.header(shard)["norms"]["data_offsets"]
        path = shard_path(self.directory, shard)
        return np.fromfile(path, dtype=np.float32, count=int(self.index.counts[shard]), offset=begin)

    def read(self, shard: int) -> Float[Tensor, "token d_model"]:
        """A shard's rows in the dtype they are stored in, int8 as float32; StoreError if they are damaged.

        What need not be decoded is mapped, not copied, and all its pages are there when this returns.
        """
        self._check_once(shard)
        path = shard_path(self.directory, shard)
        if self.meta.dtype != "int8":
            return map_activations(path)
        parts = load_file(path)
        levels = parts.pop("activations")
        parts.pop("norms")
        out = torch.empty(levels.shape)
        dequantize(Quantized(levels=levels, **parts), out)
        return out

    def read_rows(self, shard: int, rows: np.ndarray) -> Float[Tensor, "token d_model"]:
        """Some rows of a shard, as float32, reading only their pages where the format allows it."""
        if self.meta.dtype == "int8":
            return self.read(shard)[torch.from_numpy(rows)]
        self._check_once(shard)
        values = load_file(shard_path(self.directory, shard))["activations"]
        return torch.from_numpy(bits(values)[rows]).view(values.dtype).to(torch.float32)

    def _check_once(self, shard: int) -> None:
        if shard not in self.checked:
            self.check(shard, full=True)
            self.checked.add(shard)


def map_activations(path: Path) -> Float[Tensor, "token d_model"]:
    """The rows of a float shard as a private map of its file, all pages of which are there.

    Left to themselves they would come one fault at a time while a batch waits for them.
    """
    entry = read_header(path)["activations"]
    dtype = FLOATS[entry["dtype"]]
    begin, end = entry["data_offsets"]
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if not _populate(pages):
        np.frombuffer(pages, dtype=np.uint8)[:: mmap.PAGESIZE].max(initial=0)
    numbers = np.frombuffer(pages, dtype=np.int8, count=end - begin, offset=begin)
    return torch.from_numpy(numbers).view(dtype).view(entry["shape"])


def _populate(pages: mmap.mmap) -> bool:
    """Whether the system could be asked for all pages at once (Linux 5.14; a fifth of the time of touching each)."""
    if sys.platform != "linux":
        return False
    try:
        pages.madvise(MADV_POPULATE_READ)
    except OSError:
        return False
    return True
