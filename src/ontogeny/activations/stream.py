"""The contract of activations: batches of `[token source d_model]` from ONE token stream, and a place in it."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.types import Source


@dataclass(frozen=True)
class Cursor:
    """A place between two batches: `taken` rows of block `block` of epoch `epoch` are used up by `batch` batches."""

    epoch: int = 0
    block: int = 0
    batch: int = 0
    taken: int = 0

    def to_json(self) -> dict[str, int]:
        """The cursor as a JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Cursor":
        """The cursor that `to_json` gave."""
        return cls(**{field.name: int(value[field.name]) for field in fields(cls)})


@dataclass(frozen=True)
class TokenColumns:
    """Where rows of activations come from: corpus.tokens[row, position] is `token`; -1 where there is no corpus."""

    token: Int[np.ndarray, "token"]
    document: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]
    row: Int[np.ndarray, "token"]
    text_source: Int[np.ndarray, "token"]

    def take(self, indices: Int[np.ndarray, "chosen"]) -> "TokenColumns":
        """The columns at `indices`."""
        return TokenColumns(*(getattr(self, field.name)[indices] for field in fields(self)))

    @staticmethod
    def concatenate(parts: Sequence["TokenColumns"]) -> "TokenColumns":
        """The columns of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(TokenColumns)]
        return TokenColumns(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class ActivationBatch:
    """Rows of raw activations with where they come from; `cursor` stands AFTER this batch.

    `x` [token source d_model] is the caller's own, in the dtype in which the rows are stored (int8: float32). In memory
    each source's rows lie together; `x.to(dtype, memory_format=torch.contiguous_format)` turns both in one pass.
    `load_columns` is asked when a column is first wanted: training never wants one, and all of them together cost a
    fifth of reading the batch.
    """

    x: Float[Tensor, "token source d_model"]
    cursor: Cursor
    load_columns: Callable[[], TokenColumns]

    @functools.cached_property
    def columns(self) -> TokenColumns:
        """Where each row comes from."""
        return self.load_columns()

    @property
    def token(self) -> Int[np.ndarray, "token"]:
        """The token's id."""
        return self.columns.token

    @property
    def document(self) -> Int[np.ndarray, "token"]:
        """The document that the token is in."""
        return self.columns.document

    @property
    def position(self) -> Int[np.ndarray, "token"]:
        """The token's place in its corpus row, not in its document."""
        return self.columns.position

    @property
    def row(self) -> Int[np.ndarray, "token"]:
        """The token's corpus row."""
        return self.columns.row

    @property
    def text_source(self) -> Int[np.ndarray, "token"]:
        """Which source of the corpus's mixture the token is from."""
        return self.columns.text_source


@dataclass(frozen=True)
class StreamCounts:
    """Rows written, rows that batches deliver (`kept`), and per source the kept-by-the-corpus rows of high norm."""

    rows: int
    kept: int
    high_norm: tuple[int, ...]


class ActivationStream(ABC):
    """Activations of all sources on one token stream, delivered as seeded, shuffled batches that can be resumed."""

    sources: tuple[Source, ...]
    d_model: int

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Rows that one epoch delivers."""

    @property
    @abstractmethod
    def scales(self) -> Float[Tensor, "source"]:
        """sqrt(d_model) / mean norm per source over the kept training rows, computed in float64.

        StoreError on a held-out stream: validation is scaled as training was, by what the dictionary carries.
        """

    @property
    @abstractmethod
    def counts(self) -> StreamCounts:
        """Rows written, kept and of high norm."""

    @abstractmethod
    def iter_batches(
        self, batch_size: int, *, seed: int = 0, cursor: Cursor | None = None, epochs: int | None = None
    ) -> Iterator[ActivationBatch]:
        """Shuffled batches from `cursor` to the end of epoch `epochs` - 1, or without end.

        Order and boundaries depend on seed, batch size and the rows alone. With `epochs` given every kept row is
        delivered and an epoch's last batch may be short. Without end all batches are full: an epoch's remainder is
        left out (a stream smaller than one batch gives short ones).
        """


class ActivationStore(ActivationStream):
    """A stream that can also be added to and read at any rows."""

    @abstractmethod
    def append(self, x: Float[Tensor, "token source d_model"]) -> None:
        """Add rows."""

    @abstractmethod
    def read_rows(self, rows: Int[np.ndarray, "token"]) -> Float[Tensor, "token source d_model"]:
        """The rows at these places in written order, kept or not."""
