"""CSV keeps every row and every character; LaTeX compiles, whatever a token holds."""

import csv
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from ontogeny.results import Column, Result, Table, save_result
from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.table_files import MOST_LATEX_ROWS, escape_latex, list_files, save_tables
from ontogeny.workspace import Workspace
from results.synthetic import HOSTILE


def test_csv_holds_every_row_and_character(made_up: Workspace, tmp_path: Path) -> None:
    reader = ResultReader(gather_results(made_up, "made-up").results["examples"].path)
    made = save_tables(reader, tmp_path)
    assert list_files(made) == "2 csv, 2 tex"
    with (tmp_path / "examples-examples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = reader.read("examples").to_pylist()
    assert [json.loads(row["tokens"]) for row in rows] == [row["tokens"] for row in expected]
    assert [row["bin"] for row in rows] == ["" if row["bin"] is None else str(row["bin"]) for row in expected]


def write(folder: Path, count: int) -> str:
    columns = (Column("a_b", "%", "a & b\nnext"), Column("a_b_se", "%", "its error"), Column("word", "1", "a token"))
    data = pa.table({"a_b": [0.5] * count, "a_b_se": [None] + [0.01] * (count - 1), "word": ["x_1 & {$}"] * count})
    save_result(Result("made", (Table("t", columns, data),)), folder)
    save_tables(ResultReader(folder), folder)
    return (folder / "made-t.tex").read_text(encoding="utf-8")


def test_latex_joins_errors_escapes_and_cuts(tmp_path: Path) -> None:
    text = write(tmp_path, 100)
    assert r"a b (\%) & word \\" in text
    assert r"0.5 & x\_1 \& \{\$\} \\" in text and r"0.5 $\pm$ 0.01 & " in text
    assert f"The first {MOST_LATEX_ROWS} of 100 rows." in text
    assert text.count(r"\\") == 1 + MOST_LATEX_ROWS + 1
    assert "The first" not in write(tmp_path / "short", 3)


@pytest.mark.parametrize("token", HOSTILE)
def test_no_token_leaves_latex_its_meaning(token: str) -> None:
    text = escape_latex(token)
    assert not re.search(r"(?<!\\)[&%#_]", text) and text.isprintable()
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("token", ["[", "[1]", "*", "*["])
def test_a_row_may_begin_with_what_a_line_break_takes_for_its_option(token: str) -> None:
    assert escape_latex(token)[0] == "{"
