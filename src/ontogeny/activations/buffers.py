"""Memory for batches, lent again and again."""

import weakref

import numpy as np
import torch
from torch import Tensor


class Buffers:
    """Memory lent again once its receiver has let go of it: fresh pages would cost half of what filling them does."""

    KEPT = 4

    def __init__(self) -> None:
        self.lent: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []

    def lend(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor whose memory nobody else holds."""
        size = dtype.itemsize * int(np.prod(shape))
        free = [memory for memory, loan in self.lent if loan() is None and len(memory) == size]
        memory = free[0] if free else np.empty(size, dtype=np.uint8)
        # The tensor's storage, which all its views share, keeps this view alive, and nothing else does.
        view = memory[:]
        others = [entry for entry in self.lent if entry[0] is not memory]
        self.lent = [*others, (memory, weakref.ref(view))][-self.KEPT :]
        return torch.from_numpy(view).view(dtype).view(shape)
