"""Resident memory of the process: what is freed goes back to the system."""

import ctypes
import sys

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.training.config import TrainingConfig

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MEBIBYTE = 1 << 20
_ROOM = 96 * _MEBIBYTE
"""Room from which freed blocks may wait for the next step: the heap then holds some 65 MiB more (`docs/log.md`)."""


def return_freed_blocks(room: int = 0) -> None:
    """Have glibc map large blocks on their own, so that freeing one returns it; nothing on other systems.

    By itself glibc moves that bound up to 32 MiB as blocks are freed, and keeps them in a heap that cannot shrink below
    its last block: 60 to 110 MiB that nobody used beside 100 to 250 that were (dictionaries of 8,192 and 4,096
    latents, `benchmarks/memory.py`). It holds for the whole process and changes no number.
    The bound is 1 MiB, which costs a step of so small a dictionary 0.1 to 0.2 encoder matmuls in page faults (a large
    one's blocks are mapped anyway); where there is `room` (bytes) for a heap it is 24 MiB, which costs none.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, (24 if room >= _ROOM else 1) * _MEBIBYTE)
            mallopt(_M_TRIM_THRESHOLD, 48 * _MEBIBYTE if room >= _ROOM else _MEBIBYTE // 8)  # an eighth: as by itself


def spare_bytes(crosscoder: Crosscoder, config: TrainingConfig) -> int:
    """What a step with k codes a token leaves of the three tables [batch latent] that training may take: two."""
    sparse = hasattr(crosscoder.config.activation, "k")
    return 2 * config.batch_size * crosscoder.n_latents * crosscoder.W_enc.element_size() if sparse else 0
