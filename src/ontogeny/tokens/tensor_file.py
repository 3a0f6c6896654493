"""A safetensors file that is written column by column in bounded memory and read as a memory map."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ontogeny.workspace import disk_errors

DTYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
CHUNK = 1 << 24  # bytes copied at once


class ColumnWriter:
    """Grows named arrays on disk, row by row, and joins them into one safetensors file at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, BinaryIO] = {}
        self.shapes: dict[str, list[int]] = {}
        self.dtypes: dict[str, np.dtype] = {}

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(self, *error: object) -> None:
        """Close what is still open; the columns of a broken-off write stay where they are."""
        # Closing writes what is buffered, so a full disk may show here; the other files are closed all the same.
        with disk_errors(self.folder), contextlib.ExitStack() as closing:
            for file in self.files.values():
                closing.callback(file.close)

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        """Append rows; an array's shape after its first axis and its dtype are fixed by the first call."""
        for name, rows in columns.items():
            if name not in self.files:
                self.files[name] = (self.folder / f"{name}.column").open("wb")
                self.shapes[name] = [0, *rows.shape[1:]]
                self.dtypes[name] = rows.dtype
            assert [*rows.shape[1:]] == self.shapes[name][1:] and rows.dtype == self.dtypes[name], (
                f"{name} changed form"
            )
            with disk_errors(self.folder):
                self.files[name].write(np.ascontiguousarray(rows).tobytes())
            self.shapes[name][0] += len(rows)

    def join(self, path: Path) -> str:
        """Write the safetensors file at `path` (not atomically: the caller renames its folder) and return its SHA-256.

        The columns are dropped. The header is padded to 64 bytes, so that every map is aligned.
        """
        # Widest first keeps each array aligned to its own items.
        names = sorted(self.files, key=lambda name: (-self.dtypes[name].itemsize, name))
        header: dict[str, object] = {}
        offset = 0
        for name in names:
            size = int(np.prod(self.shapes[name])) * self.dtypes[name].itemsize
            span = [offset, offset + size]
            header[name] = {"dtype": CODES[self.dtypes[name]], "shape": self.shapes[name], "data_offsets": span}
            offset += size
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-(8 + len(encoded)) % 64)
        digest = hashlib.sha256()
        with disk_errors(path), path.open("wb") as target:
            for piece in (len(encoded).to_bytes(8, "little"), encoded):
                digest.update(piece)
                target.write(piece)
            for name in names:
                self.files[name].close()
                column = self.folder / f"{name}.column"
                with column.open("rb") as source:
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        target.write(chunk)
                column.unlink()
            target.flush()
            os.fsync(target.fileno())
        self.files = {}
        return digest.hexdigest()


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file as read-only memory maps."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        if start == end:
            arrays[name] = np.empty(shape, dtype)
        else:
            arrays[name] = np.memmap(path, dtype=dtype, mode="r", offset=8 + length + start, shape=shape)
    return arrays
