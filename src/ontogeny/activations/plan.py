"""Which token of the corpus lies in which place of which shard: fixed before any model runs, for all sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from ontogeny.activations.stream import TokenColumns
from ontogeny.config import content_hash
from ontogeny.errors import CorpusError

Split = Literal["train", "held_out", "all"]
Layout = Literal["shuffled", "ordered"]
RUNS_PER_SHARD = 128
RUN_NUMBERS = 32768  # in a run of one source: 64 KiB in bfloat16; shorter runs are read more slowly


@runtime_checkable
class TokenTable(Protocol):
    """What of a corpus this package reads: `ontogeny.tokens.corpus.Corpus` is one."""

    @property
    def tokens(self) -> Int[np.ndarray, "row position"]: ...
    @property
    def document(self) -> Int[np.ndarray, "row position"]: ...
    @property
    def text_source(self) -> Int[np.ndarray, "row position"]: ...
    @property
    def keep(self) -> Bool[np.ndarray, "row position"]: ...
    @property
    def fingerprint(self) -> str: ...
    def rows(self, split: Split) -> Int[np.ndarray, "row"]: ...
    def input_tokens(self, rows: np.ndarray, snapshot: str | None = None) -> Int[np.ndarray, "row position"]: ...


@runtime_checkable
class RowIndex(Protocol):
    """The rows of a store: how many each shard has and where they come from."""

    @property
    def counts(self) -> Int[np.ndarray, "shard"]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def split(self) -> Split: ...
    def run(self, d_model: int) -> int: ...
    def columns(self, shard: int) -> TokenColumns: ...
    def keep(self, shard: int) -> Bool[np.ndarray, "token"]: ...


@dataclass(frozen=True)
class StreamPlan:
    """The written order of a corpus's split.

    Shuffled: corpus rows are permuted by the seed, cut into shards of whole rows, and the tokens of each shard are
    permuted by (seed, shard) alone, so that a shard can be redone by itself. Ordered: both permutations are the
    identity. Every token that is not padding is written; keep masks only say which of them batches deliver.
    """

    corpus: TokenTable
    split: Split
    seed: int
    rows_per_shard: int
    layout: Layout

    @cached_property
    def row_order(self) -> Int[np.ndarray, "row"]:
        """Corpus rows in the order in which shards take them."""
        rows = self.corpus.rows(self.split)
        return rows if self.layout == "ordered" else np.random.default_rng([self.seed]).permutation(rows)

    @property
    def n_shards(self) -> int:
        """Shards of the plan; the last one may be smaller."""
        return -(-len(self.row_order) // self.rows_per_shard)

    @cached_property
    def counts(self) -> Int[np.ndarray, "shard"]:
        """Tokens in each shard."""
        return np.array([int(self.occupied(shard).sum()) for shard in range(self.n_shards)], dtype=np.int64)

    @cached_property
    def kept_counts(self) -> Int[np.ndarray, "shard"]:
        """Tokens in each shard that the corpus keeps."""
        return np.array([int(self.keep(shard).sum()) for shard in range(self.n_shards)], dtype=np.int64)

    def run(self, d_model: int) -> int:
        """How many neighbours batches may keep together: they were shuffled when they were written.

        So many that a run has 32,768 numbers, and so few that a shard has 128 runs; 1 where the written order is that
        of the text.
        """
        if self.layout == "ordered":
            return 1
        return max(1, min(int(self.counts.max()) // RUNS_PER_SHARD, RUN_NUMBERS // d_model))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that the order depends on."""
        parts = [self.corpus.fingerprint, self.split, self.seed, self.rows_per_shard, self.layout]
        return content_hash(parts, length=16)

    def shard_rows(self, shard: int) -> Int[np.ndarray, "row"]:
        """The corpus rows of a shard."""
        return self.row_order[shard * self.rows_per_shard : (shard + 1) * self.rows_per_shard]

    def occupied(self, shard: int) -> Bool[np.ndarray, "row position"]:
        """Where the shard's rows hold a token rather than padding."""
        return np.asarray(self.corpus.document[self.shard_rows(shard)] >= 0)

    def order(self, shard: int) -> Int[np.ndarray, "token"]:
        """order[i] = which of the shard's tokens, counted along its rows, is written in place i."""
        count = int(self.counts[shard])
        if self.layout == "ordered":
            return np.arange(count)
        return np.random.default_rng([self.seed, shard + 1]).permutation(count)

    def cells(self, shard: int) -> Int[np.ndarray, "token"]:
        """Where the shard's tokens lie in its flattened [row position] cells, in written order."""
        return np.flatnonzero(self.occupied(shard))[self.order(shard)]

    def places(self, shard: int) -> tuple[Int[np.ndarray, "token"], Int[np.ndarray, "token"]]:
        """(corpus row, position in it) of the shard's tokens in written order."""
        local_row, position = np.divmod(self.cells(shard), self.corpus.tokens.shape[1])
        return self.shard_rows(shard)[local_row], position

    def columns(self, shard: int) -> TokenColumns:
        """Where the shard's tokens come from, in written order."""
        rows, cells = self.shard_rows(shard), self.cells(shard)
        local_row, position = np.divmod(cells, self.corpus.tokens.shape[1])
        corpus = self.corpus
        # The shard's rows are copied out first: in that small copy single cells are looked up ten times as fast.
        return TokenColumns(
            token=corpus.tokens[rows].reshape(-1)[cells],
            document=corpus.document[rows].reshape(-1)[cells],
            position=position,
            row=rows[local_row],
            text_source=corpus.text_source[rows].reshape(-1)[cells],
        )

    def keep(self, shard: int) -> Bool[np.ndarray, "token"]:
        """The corpus's keep mask of the shard's tokens, in written order."""
        return np.asarray(self.corpus.keep[self.shard_rows(shard)]).reshape(-1)[self.cells(shard)]


def columns_of(index: RowIndex, shards: Sequence[int]) -> Callable[[], TokenColumns]:
    """What tells where the rows of shards come from, once it is asked."""
    return lambda: TokenColumns.concatenate([index.columns(shard) for shard in shards])


def plan_stream(
    corpus: TokenTable,
    split: Split = "train",
    seed: int = 0,
    tokens_per_shard: int = 32768,
    *,
    layout: Layout = "shuffled",
) -> StreamPlan:
    """Fix the written order of a split; CorpusError where the split holds no row."""
    if len(corpus.rows(split)) == 0:
        raise CorpusError(f"the corpus has no {split} rows; give it more text or another fraction in `held_out`.")
    rows_per_shard = max(1, tokens_per_shard // corpus.tokens.shape[1])
    return StreamPlan(corpus, split, seed, rows_per_shard, layout)


@dataclass
class AppendedRows:
    """The rows of a store that was filled by appending tensors: no corpus, all kept; `row` counts from 0."""

    sizes: list[int]
    split: Split = "all"

    @property
    def counts(self) -> Int[np.ndarray, "shard"]:
        """Rows in each shard."""
        return np.array(self.sizes, dtype=np.int64)

    @property
    def fingerprint(self) -> str:
        """A constant: appended rows follow no plan."""
        return "appended"

    def run(self, d_model: int) -> int:
        """1: nobody has shuffled them."""
        return 1

    def columns(self, shard: int) -> TokenColumns:
        """`row` is the row's number in the store; all else is -1."""
        first = sum(self.sizes[:shard])
        nowhere = np.full(self.sizes[shard], -1, dtype=np.int64)
        row = np.arange(first, first + self.sizes[shard])
        return TokenColumns(token=nowhere, document=nowhere, position=nowhere, row=row, text_source=nowhere)

    def keep(self, shard: int) -> Bool[np.ndarray, "token"]:
        """Every appended row is kept."""
        return np.ones(self.sizes[shard], dtype=bool)
