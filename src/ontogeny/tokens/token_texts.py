"""Tokens as text, one by one."""

from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int


class TokenTexts:
    """Tokens as text, each id decoded once."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.known: dict[int, str] = {}

    def of(self, ids: Int[np.ndarray, " token"]) -> pa.Array:
        """The text of every token."""
        # Token numbers are small: marking them in a table is several times faster than sorting them.
        present = np.zeros(int(ids.max(initial=0)) + 1, dtype=bool)
        present[ids] = True
        distinct = np.flatnonzero(present)
        which = (np.cumsum(present) - 1)[ids]
        for token in distinct.tolist():
            if token not in self.known:
                self.known[token] = str(self.tokenizer.decode([token]))
        return pa.array([self.known[token] for token in distinct.tolist()], pa.string()).take(pa.array(which))
