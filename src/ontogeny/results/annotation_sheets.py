"""Annotation sheets: a CSV with what is known of some latents and empty columns, filled by hand and read back."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ontogeny.config import nearest
from ontogeny.errors import AnnotationError
from ontogeny.results.annotations import Note
from ontogeny.results.axes import INTERVAL
from ontogeny.results.reader import LATENT, ResultReader
from ontogeny.results.style import round_number
from ontogeny.workspace import disk_errors

TO_FILL = ("description", "languages", "interpretable", "monosemantic", "notes", "tags")
"""The empty columns. The published table has the first two."""
KEY = ("dictionary", "behaviour", LATENT)
ANSWERS = ("", "yes", "no", "unclear")
MOST_CHARACTERS = 2_000
DELIMITERS = ",;\t"


def list_behaviours(reader: ResultReader) -> list[str]:
    """The behaviours of a result of indirect effects, in order."""
    return list(dict.fromkeys(reader.read("totals", ["behaviour"]).column("behaviour").to_pylist()))


def check_behaviour(reader: ResultReader, behaviour: str | None) -> str:
    """The behaviour asked for, or the only one there is; AnnotationError lists those there are."""
    known = list_behaviours(reader)
    if behaviour is None and len(known) == 1:
        return known[0]
    if behaviour not in known:
        asked = "--behaviour is missing" if behaviour is None else f"--behaviour {behaviour!r}: there is none"
        raise AnnotationError(f"{asked}; this result has {', '.join(known)}.")
    return behaviour


def strongest_latents(reader: ResultReader, behaviour: str, top: int, each: bool = False) -> list[int]:
    """The `top` latents with the largest |effect| in any source, those with a significant one first.

    `each`: the `top` of every source, of all sources together, as published.
    """
    rows = _rows(reader, "effects", behaviour, ("source", "effect", "significant"))
    size = {(row[LATENT], row["source"]): abs(row["effect"]) for row in rows}
    if each:
        chosen: set[int] = set()
        for source in dict.fromkeys(row["source"] for row in rows):
            here = sorted((-value, latent) for (latent, name), value in size.items() if name == source and value > 0)
            chosen |= {latent for _, latent in here[:top]}
        return sorted(chosen, key=lambda latent: -max(v for (other, _), v in size.items() if other == latent))
    best: dict[int, tuple[bool, float]] = {}
    for row in rows:
        significant, largest = best.get(row[LATENT], (False, 0.0))
        best[row[LATENT]] = (significant or bool(row["significant"]), max(largest, abs(row["effect"])))
    ranked = sorted(best, key=lambda latent: (not best[latent][0], -best[latent][1], latent))
    return [latent for latent in ranked if best[latent][1] > 0][:top]


def _rows(
    reader: ResultReader, table: str, behaviour: str, columns: Sequence[str], latents: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Rows of a behaviour, of some latents if given."""
    data = reader.read(table, ["behaviour", LATENT, *columns], latents).to_pylist()
    return [row for row in data if row["behaviour"] == behaviour]


def make_rows(
    reader: ResultReader,
    dictionary: str,
    behaviour: str,
    latents: Sequence[int],
    notes: Mapping[int, Note],
    norms: Mapping[str, Float[np.ndarray, "latent"]],
) -> list[dict[str, Any]]:
    """One row a latent, columns in order; what is noted already is filled in, what is missing is None.

    `norms`: the norms of all decoders in every source, normalised space.
    """
    effect_columns = ("source", "effect", "effect_se", "n", "n_clusters")
    effects = _by_latent(_rows(reader, "effects", behaviour, effect_columns, latents))
    share_columns = ("source", "share", "share_low", "share_high")
    shares = _by_latent(_rows(reader, "shares", behaviour, share_columns, latents))
    classes = ("hook_point", "class", "class_probability", "legacy_class")
    relie = _by_latent(_rows(reader, "relie", behaviour, classes, latents))
    sources = list(dict.fromkeys(reader.read("totals", ["source"]).column("source").to_pylist()))
    return [
        {
            "dictionary": dictionary,
            "behaviour": behaviour,
            LATENT: latent,
            **_classes(relie.get(latent, [])),
            **_numbers(sources, effects.get(latent, []), shares.get(latent, [])),
            **_norm_shares(sources, latent, norms),
            **_filled(notes.get(latent)),
        }
        for latent in latents
    ]


def _by_latent(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[LATENT], []).append(row)
    return found


def _classes(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Its class, that of each hook point where there are several; a latent without a significant effect has none."""
    if not rows:
        return {"class": "non-causal", "class_probability": None, "published_class": None}
    joined = {
        "class": [f"{row['hook_point']} {row['class']}" if len(rows) > 1 else row["class"] for row in rows],
        "class_probability": [row["class_probability"] for row in rows],
        "published_class": [row["legacy_class"] for row in rows],
    }
    return {key: values[0] if len(rows) == 1 else "; ".join(map(str, values)) for key, values in joined.items()}


def _numbers(
    sources: Sequence[str], effects: Sequence[dict[str, Any]], shares: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    effect = {row["source"]: row for row in effects}
    share = {row["source"]: row for row in shares}
    out: dict[str, Any] = {key: effects[0][key] if effects else None for key in ("n", "n_clusters")}
    for source in sources:
        found = effect.get(source, {})
        value: Any = found.get("effect")
        se: Any = found.get("effect_se")
        out[f"ie {source}"] = round_number(value)
        for end, sign in (("low", -1), ("high", 1)):
            missing = value is None or se is None
            out[f"ie_{end} {source}"] = None if missing else round_number(value + sign * INTERVAL * se)
    for source in sources:
        for name, column in (("relie", "share"), ("relie_low", "share_low"), ("relie_high", "share_high")):
            out[f"{name} {source}"] = round_number(share.get(source, {}).get(column))
    return out


def _norm_shares(
    sources: Sequence[str], latent: int, norms: Mapping[str, Float[np.ndarray, "latent"]]
) -> dict[str, Any]:
    """The relative decoder norm: of the norms in these sources, the share of each."""
    known = {source: float(norms[source][latent]) for source in sources if source in norms}
    total = sum(known.values())
    return {
        f"norm_share {source}": round_number(known[source] / total) if source in known and total > 0 else None
        for source in sources
    }


def _filled(note: Note | None) -> dict[str, str]:
    if note is None:
        return dict.fromkeys(TO_FILL, "")
    return {**{name: getattr(note, name) for name in TO_FILL}, "tags": ", ".join(note.tags)}


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A CSV file, UTF-8 with a mark that spreadsheets know it by; missing values are empty."""
    assert rows, "rows of no latent"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@dataclass(frozen=True)
class Filled:
    """What a filled sheet says: its notes, the latents of each behaviour in its order, rows with nothing written."""

    notes: list[Note]
    latents: dict[str, list[int]]
    n_empty: int


def read_sheet(path: Path, dictionary: str, behaviours: Sequence[str], n_latents: int, author: str) -> Filled:
    """The notes of a filled sheet, as whatever spreadsheet saved it (comma, semicolon or tab).

    AnnotationError names the line of a row about another dictionary, an unknown behaviour, a latent out of range, an
    answer that is none of yes, no, unclear, or two rows that contradict each other; and a file that is no such sheet.
    """
    notes: dict[tuple[str, int], tuple[int, Note]] = {}
    latents: dict[str, list[int]] = {}
    n_empty = 0
    for line, row in _iter_lines(path):
        where = f"{path}, line {line}"
        if row["dictionary"] != dictionary:
            raise AnnotationError(
                f"{where}: this row is about dictionary {row['dictionary']!r}, not {dictionary}; import it there."
            )
        behaviour = row["behaviour"]
        if behaviour not in behaviours:
            alike = nearest(behaviour, behaviours) or list(behaviours)
            raise AnnotationError(f"{where}: there is no behaviour {behaviour!r}; this result has {', '.join(alike)}.")
        note = _read_note(where, row, n_latents, author)
        key = (behaviour, note.latent)
        if key in notes and notes[key][1].says != note.says:
            raise AnnotationError(
                f"{where}: says something else of latent {note.latent} than line {notes[key][0]}; leave one of them."
            )
        if key not in notes:
            latents.setdefault(behaviour, []).append(note.latent)
            n_empty += not any(note.says)
        notes[key] = (line, note)
    return Filled([note for _, note in notes.values() if any(note.says)], latents, n_empty)


def _iter_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped cells by column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise AnnotationError(f"{path} is not UTF-8; save it from the spreadsheet as CSV UTF-8.") from None
    head = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise AnnotationError(f"{path}, line 1: {error}.") from None
    twice = next((name for name in (*KEY, *TO_FILL) if names.count(name) > 1), None)
    if twice is not None:
        raise AnnotationError(f"{path} has two columns {twice!r}; leave one of them.")
    missing = [name for name in (*KEY, *TO_FILL) if name not in names]
    if missing:
        raise AnnotationError(f"{path} has no column {missing[0]!r}: give a sheet that `ontogeny annotate` wrote.")
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
                raise AnnotationError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for {len(names)} columns; quote a text that "
                    f"holds {delimiter!r}."
                )
            padded = [*cells, *[""] * (len(names) - len(cells))]
            yield reader.line_num, {name: cell.strip() for name, cell in zip(names, padded, strict=False)}
    except csv.Error as error:
        raise AnnotationError(f"{path}, line {reader.line_num}: {error}.") from None


def _read_note(where: str, row: Mapping[str, str], n_latents: int, author: str) -> Note:
    latent = row[LATENT]
    if not latent.isdecimal():
        raise AnnotationError(f"{where}: latent {latent!r} is no number from 0 on.")
    if int(latent) >= n_latents:
        raise AnnotationError(f"{where}: there is no latent {latent}: this dictionary has {n_latents}, from 0 on.")
    for name in ("description", "languages", "notes"):
        if len(row[name]) > MOST_CHARACTERS:
            raise AnnotationError(f"{where}: {name} has {len(row[name])} characters; {MOST_CHARACTERS} are the most.")
    return Note(
        row["dictionary"],
        int(latent),
        row["behaviour"],
        author,
        description=row["description"],
        languages=row["languages"],
        interpretable=_answer(where, "interpretable", row["interpretable"]),
        monosemantic=_answer(where, "monosemantic", row["monosemantic"]),
        notes=row["notes"],
        tags=tuple(dict.fromkeys(tag for tag in (part.strip() for part in row["tags"].split(",")) if tag)),
    )


def _answer(where: str, name: str, text: str) -> str:
    if text.lower() not in ANSWERS:
        raise AnnotationError(f"{where}: {name} is {text!r}; write yes, no, unclear, or nothing.")
    return text.lower()
