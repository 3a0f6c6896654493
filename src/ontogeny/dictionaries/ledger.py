"""What the uses of a dense table leave for the encoder's backward, and through which gates they see the table."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.elementwise import gate_values

_FEWEST, _MOST = 32, 256
"""Rows of a block: enough for a matmul, and small beside the table."""

Addend = Callable[[Tensor, Tensor, slice], None]
"""(out, values, rows): add to `out` a loss's gradient with respect to these rows of the table, which are `values`."""

UNGATED = -1
"""Stands for the pre-activations themselves where a gate is named."""


@dataclass
class Ledger:
    """How the pre-activations are gated, and what the uses of the table have left for its backward.

    `norms`: one entry per gate, `n` in score = pre · n > threshold; ReLU has none. `whole`: one gate for all sources,
    so that the table holds gated values; else it holds pre-activations, and every source has its gate. `pre` is kept
    for what is asked of it before any gate.
    """

    norms: tuple[Float[Tensor, " latent"], ...] = ()
    window: float = 0.0
    whole: bool = True
    pre: Tensor | None = None
    addends: dict[tuple[int, int], Addend] = field(default_factory=dict)
    uses: Iterator[int] = field(default_factory=itertools.count)
    walk: int = -1

    @property
    def gates(self) -> range:
        return range(1 if self.whole else len(self.norms))

    def gated(self, table: Tensor, threshold: Tensor | None, gate: int) -> Tensor:
        """Rows of the table as `gate` lets them through."""
        if self.whole:
            return table
        assert threshold is not None, "a gate per source has a threshold"
        return gate_values(table, threshold, self.norms[gate], torch.empty_like(table))

    def leave(self, use: int, gate: int, addend: Addend) -> None:
        """Keep what one use adds for one gate until the encoder's backward."""
        self._begin_walk()
        self.addends[use, gate] = addend

    def add(self, gate: int, grad: Tensor, values: Tensor, rows: slice) -> None:
        """Add to `grad` what was left for one gate."""
        self._begin_walk()
        for (_, of), addend in self.addends.items():
            if of == gate:
                addend(grad, values, rows)

    def _begin_walk(self) -> None:
        """Forget what an earlier backward left that did not come as far as the encoder."""
        walk = torch._C._current_graph_task_id()
        if walk != self.walk:
            self.addends.clear()
            self.walk = walk


def row_blocks(table: Tensor) -> Iterator[slice]:
    """Slices of the tokens."""
    rows = block_rows(table)
    for start in range(0, len(table), rows):
        yield slice(start, start + rows)


def block_rows(table: Tensor) -> int:
    """Rows of a block: a sixteenth of the table, within bounds."""
    return min(_MOST, max(_FEWEST, len(table) // 16))
