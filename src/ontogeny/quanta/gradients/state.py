"""How far a stream of gradients is, in a folder: sums that changed, the gradient at the residual stream, the place.

Every stage leaves `sums.N.safetensors` and `stream.N.safetensors`, whole under their names or not there, and then
`state.json`, which says that N stages are done: a call that was killed goes on behind them with the same bits.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ontogeny.quanta.gradients.sums import Sums
from ontogeny.tokens.tensor_file import ColumnWriter, map_tensors
from ontogeny.workspace import disk_errors, read_json, write_json

STATE = "state.json"
SUMS, STREAM = "sums", "stream"
ROWS = 256
"""Rows of a matrix that are written at once."""


class StreamState:
    """One stream's folder; nothing is kept without one.

    `plan` says what the stages are: other ones, of another memory budget say, begin anew, unless all were done.
    """

    def __init__(self, folder: Path | None, plan: list[int]) -> None:
        self.folder, self.plan = folder, plan
        self.done, self.is_whole = 0, False
        if folder is None or not (folder / STATE).is_file():
            return
        kept = read_json(folder / STATE)
        if kept["is_whole"] or kept["plan"] == plan:
            self.done, self.is_whole = int(kept["done"]), bool(kept["is_whole"])
        else:
            with disk_errors(folder):
                shutil.rmtree(folder)

    def load_sums(self, sums: Sums, device: torch.device) -> None:
        """Put back what the stages that are done added up; later files replace what earlier ones hold."""
        for stage in range(self.done):
            path = self._file(SUMS, stage)
            if path.is_file():
                sums.values.update({name: _copy(each, device) for name, each in map_tensors(path).items()})

    def load_stream(self) -> np.ndarray:
        """The gradient at the residual stream below the last stage that is done, a memory map [cell d_model]."""
        return map_tensors(self._file(STREAM, self.done - 1))[STREAM]

    def save(self, sums: Sums, stream: Iterable[Tensor] | None) -> None:
        """Keep a finished stage: the sums it changed and, if stages are left, what the next starts from."""
        if self.folder is None:
            return
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        stage = self.done
        changed = {name: sums.values[name].split(ROWS) for name in sorted(sums.touched)}
        if changed:
            self._write(SUMS, stage, changed)
        if stream is not None:
            self._write(STREAM, stage, {STREAM: stream})
        self.done += 1
        self.is_whole = stream is None
        write_json(self.folder / STATE, {"done": self.done, "is_whole": self.is_whole, "plan": self.plan})
        sums.touched.clear()
        self._drop_old()

    def _write(self, kind: str, stage: int, tensors: Mapping[str, Iterable[Tensor]]) -> None:
        final = self._file(kind, stage)
        writing = final.with_suffix(".writing")
        with disk_errors(final):
            shutil.rmtree(writing, ignore_errors=True)  # what a killed call left
            writing.mkdir()
            with ColumnWriter(writing) as writer:
                for name, blocks in tensors.items():
                    for rows in blocks:
                        writer.append({name: rows.cpu().numpy()})
                writer.join(writing / final.name)
            (writing / final.name).replace(final)
            writing.rmdir()

    def _drop_old(self) -> None:
        """Files that later ones replace."""
        assert self.folder is not None
        later: set[str] = set()
        for stage in reversed(range(self.done)):
            path = self._file(SUMS, stage)
            if path.is_file():
                names = set(map_tensors(path))
                if names <= later:
                    path.unlink()
                later |= names
            if stage < self.done - 1 or self.is_whole:
                self._file(STREAM, stage).unlink(missing_ok=True)

    def _file(self, kind: str, stage: int) -> Path:
        assert self.folder is not None, "nothing is kept without a folder"
        return self.folder / f"{kind}.{stage:04d}.safetensors"


def _copy(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values)).to(device)
