"""Tables as files for people: CSV with every row, LaTeX (booktabs) to paste into a paper."""

import csv
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ontogeny.results.reader import ResultReader
from ontogeny.results.style import escape_controls, format_value
from ontogeny.results.tables import Column
from ontogeny.workspace import disk_errors

MOST_LATEX_ROWS = 60
MOST_LATEX_CHARACTERS = 48
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # At the start of a row these would be options of the line break, or of the rule, before it.
    "[": "{[}",
    "*": "{*}",
    "⏎": r"$\hookleftarrow$",
    "⇥": r"$\mapsto$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
    "±": r"$\pm$",
    "…": r"\ldots{}",
}


def save_tables(reader: ResultReader, folder: Path) -> list[Path]:
    """Write every table of a result as `<kind>-<table>.csv` (all rows) and `.tex` (the first ones); the files made."""
    made = []
    for table in reader.tables:
        stem = folder / f"{reader.kind}-{table}"
        write_csv(reader, table, stem.with_name(f"{stem.name}.csv"))
        write_latex(reader, table, stem.with_name(f"{stem.name}.tex"))
        made += [stem.with_name(f"{stem.name}.{ending}") for ending in ("csv", "tex")]
    return made


def write_csv(reader: ResultReader, table: str, path: Path) -> None:
    """All rows, a batch at a time: names in the first line, missing values empty, lists as JSON, UTF-8."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(reader.column_names(table))
            for batch in reader.iter_batches(table):
                columns = [_csv_cells(column.to_pylist()) for column in batch.columns]
                writer.writerows(zip(*columns, strict=True))


def _csv_cells(values: list[Any]) -> list[Any]:
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value for value in values]


def write_latex(reader: ResultReader, table: str, path: Path) -> None:
    """A booktabs table to \\input: units in the head, standard errors as ±, long tables cut with a note."""
    columns = reader.columns(table)
    known = {column.name for column in columns}
    shown = [column for column in columns if not (column.name.endswith("_se") and column.name[:-3] in known)]
    rows = reader.head(table, MOST_LATEX_ROWS)
    numeric = [all(isinstance(row[column.name], int | float | None) for row in rows) for column in shown]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{" + "".join("r" if number else "l" for number in numeric) + "}",
        r"\toprule",
        " & ".join(_heading(column) for column in shown) + r" \\",
        r"\midrule",
        *(" & ".join(_cell(row, column) for column in shown) + r" \\" for row in rows),
    ]
    n_rows = reader.n_rows(table)
    if n_rows > len(rows):
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(shown)}}}{{l}}{{\footnotesize The first {len(rows)} of {n_rows} rows.}} \\",
        ]
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {_meaning(column)}" for column in shown), ""]
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it reads: specials escaped, controls made visible, other alphabets left to the engine
    (XeLaTeX and LuaLaTeX set them), combining marks composed."""
    visible = unicodedata.normalize("NFC", escape_controls(text))
    return "".join(ESCAPES.get(character, character) for character in visible)


def _heading(column: Column) -> str:
    unit = "" if column.unit == "1" else f" ({column.unit})"
    return escape_latex(column.name.replace("_", " ") + unit)


def _cell(row: dict[str, Any], column: Column) -> str:
    text = format_value(row[column.name], row.get(f"{column.name}_se"))
    if len(text) > MOST_LATEX_CHARACTERS:
        text = f"{text[: MOST_LATEX_CHARACTERS - 1]}…"
    return escape_latex(text)


def _meaning(column: Column) -> str:
    return " ".join(escape_controls(f"{column.name}: {column.meaning}").split())


def list_files(paths: Sequence[Path]) -> str:
    """How many files of which endings, for a person."""
    counts: dict[str, int] = {}
    for path in paths:
        counts[path.suffix[1:]] = counts.get(path.suffix[1:], 0) + 1
    return ", ".join(f"{count} {ending}" for ending, count in counts.items())
