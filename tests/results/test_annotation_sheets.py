"""Annotation sheets: what goes out, what comes back from any spreadsheet, and every way in which it can be wrong."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from ontogeny.errors import AnnotationError
from ontogeny.results.annotation_sheets import (
    TO_FILL,
    check_behaviour,
    make_rows,
    read_sheet,
    strongest_latents,
    write_rows,
)
from ontogeny.results.annotation_table import make_table, write_latex
from ontogeny.results.annotations import Note
from ontogeny.results.reader import ResultReader
from results.annotated import LATENTS, SOURCES, save_effects

NORMS = {"step0": np.full(10, 1.0), "step8": np.full(10, 3.0)}


@pytest.fixture
def reader(tmp_path: Path) -> ResultReader:
    save_effects(tmp_path / "result")
    return ResultReader(tmp_path / "result")


def fill(path: Path, delimiter: str = ",", **cells: dict[int, str]) -> Path:
    """The sheet with cells filled in, {column: {latent: text}}."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    for row in rows:
        row |= {name: texts.get(int(row["latent"]), row[name]) for name, texts in cells.items()}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


@pytest.fixture
def sheet(reader: ResultReader, tmp_path: Path) -> Path:
    write_rows(make_rows(reader, "d1", "agreement", LATENTS, {}, NORMS), tmp_path / "sheet.csv")
    return tmp_path / "sheet.csv"


def read(path: Path) -> list[Note]:
    return read_sheet(path, "d1", ["agreement", "ioi"], 10, "ann").notes


def test_the_strongest_come_first_and_the_union_is_of_every_source(reader: ResultReader) -> None:
    assert strongest_latents(reader, "agreement", 2) == [5, 2]
    assert strongest_latents(reader, "agreement", 9) == [5, 2, 9]
    assert strongest_latents(reader, "agreement", 1, each=True) == [5]
    assert strongest_latents(reader, "ioi", 1, each=True) == [2, 9]
    assert strongest_latents(reader, "ioi", 9) == [2, 9], "without any effect there is nothing to see"


def test_behaviours_are_asked_for_by_name(reader: ResultReader) -> None:
    assert check_behaviour(reader, "ioi") == "ioi"
    for asked in (None, "agreemnt"):
        with pytest.raises(AnnotationError, match="this result has agreement, ioi"):
            check_behaviour(reader, asked)


def test_rows_hold_numbers_with_intervals_for_every_snapshot(reader: ResultReader) -> None:
    first, _, _ = make_rows(reader, "d1", "agreement", LATENTS, {}, NORMS)
    assert (first["dictionary"], first["behaviour"], first["latent"], first["n"]) == ("d1", "agreement", 2, 40)
    assert (first["class"], first["class_probability"], first["published_class"]) == ("emerging", 0.9, "step8 specific")
    assert first["ie step8"] == 0.5 and first["ie_low step8"] == 0.4804 and first["ie_high step8"] == 0.5196
    assert [first[f"relie {source}"] for source in SOURCES] == [0, 1]
    assert [first[f"norm_share {source}"] for source in SOURCES] == [0.25, 0.75]
    assert all(first[name] == "" for name in TO_FILL)
    other, *_ = make_rows(reader, "d1", "ioi", [2], {}, NORMS)
    assert other["class"] == "non-causal" and other["relie step0"] is None and other["norm_share step0"] == 0.25


def test_an_empty_sheet_has_no_notes(sheet: Path) -> None:
    filled = read_sheet(sheet, "d1", ["agreement"], 10, "ann")
    assert filled.notes == [] and filled.n_empty == 3 and filled.latents == {"agreement": LATENTS}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_filled_sheet_comes_back_from_any_spreadsheet(sheet: Path, delimiter: str) -> None:
    fill(sheet, delimiter, description={2: 'plural; "nouns", all'}, interpretable={2: "YES "}, tags={9: "a, b,a"})
    assert read(sheet) == [
        Note("d1", 2, "agreement", "ann", 'plural; "nouns", all', interpretable="yes"),
        Note("d1", 9, "agreement", "ann", tags=("a", "b")),
    ]


def test_what_is_noted_goes_out_again(reader: ResultReader, tmp_path: Path) -> None:
    note = Note("d1", 5, "agreement", "ann", "naïve 日本語", "fra", "unclear", "no", "line\nbreak", ("x", "y"))
    rows = make_rows(reader, "d1", "agreement", LATENTS, {5: note}, NORMS)
    write_rows(rows, tmp_path / "again.csv")
    assert read(tmp_path / "again.csv") == [note]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"dictionary": {5: "d2"}}, r"line 3: this row is about dictionary 'd2', not d1"),
        ({"behaviour": {5: "agreemnt"}}, r"line 3: there is no behaviour 'agreemnt'; this result has agreement"),
        ({"latent": {5: "10"}}, r"line 3: there is no latent 10: this dictionary has 10, from 0 on"),
        ({"latent": {5: "5.0"}}, r"line 3: latent '5.0' is no number"),
        ({"latent": {5: "-1"}}, r"line 3: latent '-1' is no number"),
        ({"interpretable": {5: "maybe"}}, r"line 3: interpretable is 'maybe'; write yes, no, unclear, or nothing"),
        ({"latent": {5: "2"}, "description": {5: "other"}}, r"line 3: says something else of latent 2 than line 2"),
        ({"notes": {5: "x" * 2001}}, r"line 3: notes has 2001 characters"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(sheet: Path, cells: dict[str, dict[int, str]], words: str) -> None:
    fill(sheet, **cells)
    with pytest.raises(AnnotationError, match=words):
        read(sheet)


def test_what_is_no_sheet_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read(file)
    with pytest.raises(AnnotationError, match="cannot be read: Is a directory"):
        read(tmp_path)
    file.write_text("")
    with pytest.raises(AnnotationError, match="no column 'dictionary'"):
        read(file)
    file.write_text("dictionary,behaviour,latent\nd1,agreement,3\n")
    with pytest.raises(AnnotationError, match="no column 'description'"):
        read(file)
    file.write_bytes(b"description" + b"\xff\xfe")
    with pytest.raises(AnnotationError, match="not UTF-8"):
        read(file)
    head = ",".join(["dictionary", "behaviour", "latent", *TO_FILL])
    file.write_text(f"{head}\nd1,agreement,3,a,b,yes,no,n,t,and,more\n")
    with pytest.raises(AnnotationError, match="line 2: 11 cells for 9 columns"):
        read(file)
    file.write_text(f"{head},description\n")
    with pytest.raises(AnnotationError, match="two columns 'description'"):
        read(file)
    file.write_text("a" * 200_000)
    with pytest.raises(AnnotationError, match="line 1: field larger"):
        read(file)


def test_the_table_has_groups_in_order_of_training(reader: ResultReader, tmp_path: Path) -> None:
    rows = make_rows(reader, "d1", "agreement", LATENTS, {}, NORMS)
    notes = {2: Note("d1", 2, "agreement", "ann", "50 % of [plural] nouns_", interpretable="yes")}
    table = make_table(rows, notes)
    assert [(row["group"], row["latent"], row["relie"]) for row in table] == [
        ("step0 specific", 9, "[.67, .33]"),
        ("step0-step8 shared", 5, "[.25, .75]"),
        ("step8 specific", 2, "[.00, 1.00]"),
    ]
    assert (table[2]["description"], table[2]["author"], table[0]["description"]) == (
        "50 % of [plural] nouns_",
        "ann",
        "",
    )
    write_latex(table, tmp_path / "table.tex")
    text = (tmp_path / "table.tex").read_text()
    assert r"{{[}.00, 1.00]} & {2} & {50 \% of {[}plural] nouns\_} & {yes} \\" in text
    assert "languages" not in text and text.count(r"\multicolumn{4}") == 3
