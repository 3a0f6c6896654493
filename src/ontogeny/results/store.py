"""Results on disk: `result.json` (columns, views, summary) and `tables/<name>.parquet`, readable by any pandas."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ontogeny.results.reader import FORMAT, ResultReader
from ontogeny.results.tables import Result, Table
from ontogeny.workspace import disk_errors, write_json


def save_result(result: Result, directory: Path) -> None:
    """Write a result; `result.json` comes last and atomically, so a directory that has it is whole."""
    for table in result.tables:
        _write_table(table, directory / "tables" / f"{table.name}.parquet")
    write_json(
        directory / "result.json",
        {
            "format": FORMAT,
            "kind": result.kind,
            "summary": _finite(result.summary),
            "tables": [
                {
                    "name": table.name,
                    "columns": [dataclasses.asdict(column) for column in table.columns],
                    "sorted_by": list(table.sorted_by),
                    "row_group_rows": table.row_group_rows,
                }
                for table in result.tables
            ],
            "views": [dataclasses.asdict(view) for view in result.views],
        },
    )


def load_result(directory: Path) -> Result:
    """Read what `save_result` wrote; ArtifactError where there is no result or one of a later format."""
    reader = ResultReader(directory)
    tables = tuple(
        Table(
            name,
            reader.columns(name),
            reader.read(name),
            tuple(reader.layout(name)["sorted_by"]),
            reader.layout(name)["row_group_rows"],
        )
        for name in reader.tables
    )
    return Result(reader.kind, tables, reader.views, reader.summary)


def _write_table(table: Table, path: Path) -> None:
    """One Parquet file, whole under its final name or not there; units and meanings ride in the fields' metadata."""
    fields = [
        field.with_metadata({"unit": column.unit, "meaning": column.meaning})
        for field, column in zip(table.data.schema, table.columns, strict=True)
    ]
    schema = pa.schema(fields)
    data = table.data
    if isinstance(data, pa.Table) and table.sorted_by:
        data = data.sort_by([(name, "ascending") for name in table.sorted_by])
    batches = data.to_batches(table.row_group_rows) if isinstance(data, pa.Table) else data
    temporary = path.with_suffix(".tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=_repeating(schema)) as writer:
            for batch in batches:
                aligned = pa.Table.from_batches([pa.RecordBatch.from_arrays(batch.columns, schema=schema)])
                writer.write_table(aligned, row_group_size=table.row_group_rows)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


def _repeating(schema: pa.Schema) -> list[str]:
    """The columns whose values repeat, by their Parquet paths: all but real numbers and flags.

    Those cost three times as much to write with a dictionary of them, and take more room.
    """
    paths = []
    for field in schema:
        path, kind = field.name, field.type
        while pa.types.is_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if not pa.types.is_floating(kind) and not pa.types.is_boolean(kind):
            paths.append(path)
    return paths


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for "not a number here"."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
