"""A few slices of a snapshot's weights, read straight from its safetensors: by range request where it is on the hub."""

import json
import math
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.hub import named, open_file, weight_files

SLICE = 8192
_N_TENSORS = 6
_LARGEST_HEADER = 100 * 2**20
_NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie: file, first byte, number of entries, type."""

    file: str
    start: int
    size: int
    dtype: str


def read_spot_checks(model: str, revision: str | None) -> dict[str, np.ndarray]:
    """The first `SLICE` entries, float64, of six tensors spread evenly over the sorted names of the float tensors.

    Equal for two snapshots of one architecture exactly when they hold the same weights there, whatever the sharding;
    empty where there are no safetensors. SnapshotError for a file that is no safetensors.
    """
    places: dict[str, _Place] = {}
    for file in weight_files(model, revision):
        if file.name.endswith(".safetensors"):
            with open_file(model, revision, file.name) as handle:
                places |= _read_header(handle, file.name, file.size_bytes, named(model, revision))
    names = sorted(places)
    chosen = (
        [names[i] for i in np.unique(np.linspace(0, len(names) - 1, _N_TENSORS).round().astype(int))] if names else []
    )
    values = {}
    for name in chosen:
        with open_file(model, revision, places[name].file) as handle:
            values[name] = _read_slice(handle, places[name])
    return values


def _read_header(handle: BinaryIO, file: str, file_size: int, where: str) -> dict[str, _Place]:
    """The float tensors of one safetensors file: 8 bytes of header length, a JSON header, then the data."""
    damage = SnapshotError(f"{where}: {file} is not a safetensors file (torn or altered); download it again.")
    length = int.from_bytes(handle.read(8), "little")
    if not 2 <= length <= min(_LARGEST_HEADER, file_size - 8):
        raise damage
    try:
        header = json.loads(handle.read(length))
    except ValueError as error:  # no JSON, or no UTF-8
        raise damage from error
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, end = entry["data_offsets"]
        if 8 + length + end > file_size:
            raise damage
        if entry["dtype"] in _WIDTH and math.prod(entry["shape"]) > 0:
            found[name] = _Place(file, 8 + length + first, math.prod(entry["shape"]), entry["dtype"])
    return found


def _read_slice(handle: BinaryIO, place: _Place) -> np.ndarray:
    handle.seek(place.start)
    data = handle.read(min(place.size, SLICE) * _WIDTH[place.dtype])
    if place.dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(data, _NUMPY_TYPES[place.dtype]).astype(np.float64)
