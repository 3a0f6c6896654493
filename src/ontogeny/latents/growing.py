"""A tensor on disk that grows along its first axis: one safetensors file each, readable by any safetensors reader."""

import json
import os
import zlib
from pathlib import Path

import numpy as np

from ontogeny.workspace import disk_errors

HEADER = 256
"""Bytes before the numbers: length, description and blanks, fixed so that the description can be written last."""
CODES = {"uint16": "U16", "int32": "I32", "int64": "I64", "float32": "F32"}
CHUNK = 1 << 24
"""Bytes read at once where a whole file is gone through."""


class GrowingTensor:
    """Appends rows to a file; `finish` writes the description, before which the file is no safetensors file.

    `length` rows of an earlier process are kept and all behind them is dropped, so a write goes on at a known place.
    """

    def __init__(self, path: Path, dtype: str, width: int | None = None, length: int = 0) -> None:
        self.path, self.dtype, self.length = path, np.dtype(dtype), length
        self.tail = () if width is None else (width,)
        self.row_bytes = self.dtype.itemsize * (width or 1)
        with disk_errors(path):
            self.file = path.open("r+b" if path.exists() else "w+b")
            self.file.truncate(HEADER + length * self.row_bytes)
            self.file.seek(0, os.SEEK_END)

    def append(self, rows: np.ndarray) -> None:
        """Add rows; they are converted to the file's number format, which must hold them."""
        assert rows.shape[1:] == self.tail, f"rows of {rows.shape[1:]} in {self.path.name}, which holds {self.tail}"
        with disk_errors(self.path):
            self.file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.length += len(rows)

    def sync(self) -> None:
        """Everything appended so far outlives the machine's sudden end."""
        with disk_errors(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())

    def finish(self) -> None:
        """Describe the tensor and close the file."""
        span = [0, self.length * self.row_bytes]
        described = {"dtype": CODES[self.dtype.name], "shape": [self.length, *self.tail], "data_offsets": span}
        text = json.dumps({"data": described}, separators=(",", ":")).encode().ljust(HEADER - 8)
        with disk_errors(self.path):
            self.file.seek(0)
            self.file.write(len(text).to_bytes(8, "little") + text)
        self.sync()
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        with disk_errors(self.path):
            self.file.close()


def held_length(path: Path, dtype: str, width: int | None = None) -> int:
    """Rows that a file holds, finished or not; 0 where there is none."""
    size = path.stat().st_size if path.is_file() else 0
    return max(size - HEADER, 0) // (np.dtype(dtype).itemsize * (width or 1))


def map_tensor(path: Path) -> np.ndarray:
    """The rows of a finished file as a read-only memory map."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        described = json.loads(file.read(length))["data"]
    dtype = np.dtype({code: name for name, code in CODES.items()}[described["dtype"]])
    shape = tuple(described["shape"])
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=8 + length, shape=shape)


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total = zlib.crc32(chunk, total)
    return total
