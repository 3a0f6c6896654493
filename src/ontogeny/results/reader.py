"""A result on disk, read as little as a question needs: columns, one latent's rows, a sample of a long table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ontogeny.config import nearest
from ontogeny.errors import ArtifactError
from ontogeny.results.tables import Column, View
from ontogeny.workspace import read_json

FORMAT = 1
LATENT = "latent"


class ResultReader:
    """The folder of a finished evaluation or analysis; tables stay on disk until they are asked for.

    `kind`, `summary` and `views` are those of the `Result`. ArtifactError where there is no result, or one of a later
    format.
    """

    def __init__(self, directory: Path) -> None:
        file = directory / "result.json"
        if not file.is_file():
            raise ArtifactError(
                f"{directory} holds no result.json: give the folder of a finished evaluation or analysis."
            )
        meta = read_json(file)
        if meta["format"] != FORMAT:
            raise ArtifactError(f"{file} has format {meta['format']}, this version reads {FORMAT}: update ontogeny.")
        self.directory = directory
        self.kind: str = meta["kind"]
        self.summary: dict[str, Any] = meta["summary"]
        self.views = tuple(_view(**view) for view in meta["views"])
        self._entries: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in meta["tables"]}

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, in the result's order."""
        return tuple(self._entries)

    def layout(self, table: str) -> dict[str, Any]:
        """What `result.json` says of a table: name, columns, sorted_by, row_group_rows; ArtifactError names the
        nearest where there is none of this name."""
        if table not in self._entries:
            alike = nearest(table, self.tables) or self.tables
            raise ArtifactError(f"this {self.kind} result has no table {table!r}; it has {', '.join(alike)}.")
        return self._entries[table]

    def columns(self, table: str) -> tuple[Column, ...]:
        """The columns of a table, with units and meanings."""
        return tuple(Column(**column) for column in self.layout(table)["columns"])

    def column_names(self, table: str) -> list[str]:
        """Names of a table's columns."""
        return [column.name for column in self.columns(table)]

    def n_rows(self, table: str) -> int:
        """Rows of a table, from its footer."""
        return int(self._file(table).metadata.num_rows)

    def read(self, table: str, columns: Sequence[str] | None = None, latents: Sequence[int] | None = None) -> pa.Table:
        """The rows of a table, or of some latents: row groups that hold none of them are not read."""
        self.layout(table)
        filters = None if latents is None else [(LATENT, "in", [int(latent) for latent in latents])]
        wanted = None if columns is None else list(columns)
        return pq.read_table(self._path(table), columns=wanted, filters=filters).replace_schema_metadata(None)

    def sample(self, table: str, limit: int, columns: Sequence[str] | None = None) -> pa.Table:
        """At most about `limit` rows, whole row groups evenly spaced over the table (all rows where they are fewer)."""
        file = self._file(table)
        n_groups, n_rows = file.metadata.num_row_groups, file.metadata.num_rows
        kept = n_groups if n_rows <= limit else max(int(n_groups * limit / n_rows), 1)
        groups = sorted({int(group) for group in np.linspace(0, n_groups - 1, kept)}) if n_groups else []
        wanted = None if columns is None else list(columns)
        return file.read_row_groups(groups, columns=wanted).replace_schema_metadata(None)

    def head(self, table: str, limit: int) -> list[dict[str, Any]]:
        """The first rows as dictionaries, null as None."""
        batches = self.iter_batches(table, limit)
        rows: list[dict[str, Any]] = next(batches, pa.RecordBatch.from_pylist([])).to_pylist()
        return rows[:limit]

    def iter_batches(self, table: str, size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The whole table, a batch of rows at a time."""
        yield from self._file(table).iter_batches(batch_size=size)

    def schema(self, table: str) -> pa.Schema:
        """The Arrow types of a table's columns."""
        return self._file(table).schema_arrow

    def largest(self, table: str, column: str) -> int | float | None:
        """The largest number of a column, from the statistics of the row groups; None for an empty table."""
        metadata = self._file(table).metadata
        index = self.column_names(table).index(column)
        found = [metadata.row_group(group).column(index).statistics for group in range(metadata.num_row_groups)]
        return max((each.max for each in found if each is not None and each.has_min_max), default=None)

    def is_per_latent(self, table: str) -> bool:
        """Whether a table has one row a latent, as its first row group shows."""
        if LATENT not in self.column_names(table):
            return False
        file = self._file(table)
        if file.metadata.num_row_groups == 0:
            return False
        first = file.read_row_group(0, columns=[LATENT]).column(LATENT)
        return len(first.unique()) == len(first)

    def _path(self, table: str) -> Path:
        return self.directory / "tables" / f"{table}.parquet"

    def _file(self, table: str) -> pq.ParquetFile:
        self.layout(table)
        return pq.ParquetFile(self._path(table))


def _view(y: Sequence[str], where: Sequence[Sequence[str]] = (), **rest: Any) -> View:
    """A view from JSON, which has no tuples; older results have no conditions."""
    return View(y=tuple(y), where=tuple((column, value) for column, value in where), **rest)
