"""Typed tables (every column has a unit and a meaning), the views declared over them, and the result of both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from ontogeny.config import nearest
from ontogeny.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd

ViewKind = Literal["line", "scatter", "histogram", "heatmap", "table", "tokens"]


@dataclass(frozen=True)
class Column:
    """A table's column: its name, its unit ("nats", "fraction", "1" for a count or a name) and one line of meaning."""

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """Columns with units over Arrow data. A missing value is null, never NaN.

    `data` is a whole `pyarrow.Table`, or a `RecordBatchReader` where the table is too long to hold (it can be saved
    once and read back whole). `sorted_by` names the columns the rows are sorted by: a whole table is sorted when it
    is saved, a reader must arrive so. `row_group_rows` bounds a Parquet row group: one latent, one small read.
    """

    name: str
    columns: tuple[Column, ...]
    data: pa.Table | pa.RecordBatchReader
    sorted_by: tuple[str, ...] = ()
    row_group_rows: int = 65_536

    def __post_init__(self) -> None:
        declared = [column.name for column in self.columns]
        assert self.data.schema.names == declared, f"table {self.name}: {self.data.schema.names} are not {declared}"
        assert set(self.sorted_by) <= set(declared), f"table {self.name}: sorted by unknown columns {self.sorted_by}"

    @classmethod
    def from_rows(
        cls, name: str, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], schema: pa.Schema | None = None
    ) -> "Table":
        """A table from dictionaries, one a row, keyed by column name; None becomes null.

        Types are inferred unless `schema` gives them, which a table that may have no rows or an all-null column needs.
        """
        rows = list(rows)
        if schema is not None:
            return cls(name, tuple(columns), pa.Table.from_pylist(rows, schema=schema))
        return cls(name, tuple(columns), pa.table({each.name: [row[each.name] for row in rows] for each in columns}))

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame."""
        return self._whole().to_pandas()

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, null as None."""
        rows: list[dict[str, Any]] = self._whole().to_pylist()
        return rows

    def _whole(self) -> pa.Table:
        assert isinstance(self.data, pa.Table), f"table {self.name} is a stream: save it, then load it"
        return self.data


@dataclass(frozen=True)
class View:
    """How a table wants to be looked at, for any front end: data names only, no drawing code.

    `x` and `y` are column names, `group` the column that separates lines or colours, `error` the column with y's
    standard error, `value` a heat map's cell or a token view's strength. `where`: (column, value) pairs that the rows
    shown must have; not for views of the kind `table`.
    """

    kind: ViewKind
    table: str
    title: str
    x: str | None = None
    y: tuple[str, ...] = ()
    group: str | None = None
    error: str | None = None
    value: str | None = None
    log_x: bool = False
    log_y: bool = False
    where: tuple[tuple[str, str], ...] = ()

    def column_names(self) -> set[str]:
        """Every column that the view reads."""
        single = (self.x, self.group, self.error, self.value)
        return {*self.y, *(name for name in single if name is not None), *(name for name, _ in self.where)}


@dataclass(frozen=True)
class Result:
    """What an evaluation or analysis found: tables, views over them, and a summary of a few numbers (JSON-able)."""

    kind: str
    tables: tuple[Table, ...]
    views: tuple[View, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [table.name for table in self.tables]
        assert len(set(names)) == len(names), f"result {self.kind}: two tables of one name among {names}"
        for view in self.views:
            assert view.table in names, f"view {view.title!r} shows table {view.table!r}, which is not among {names}"
            missing = view.column_names() - {column.name for column in self.table(view.table).columns}
            assert not missing, f"view {view.title!r} reads columns {sorted(missing)} that its table lacks"

    def table(self, name: str) -> Table:
        """The table of this name; ArtifactError names the nearest ones."""
        for table in self.tables:
            if table.name == name:
                return table
        names = [table.name for table in self.tables]
        alike = nearest(name, names) or names
        raise ArtifactError(f"this {self.kind} result has no table {name!r}; it has {', '.join(alike)}.")
