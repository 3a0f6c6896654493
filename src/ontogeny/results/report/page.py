"""One self-contained HTML file: the results of a dictionary and cards of its latents; nothing is fetched, no text runs.

Text comes from models and may be anything. It enters the page as JSON inside inert script elements, `<`, `>`, `&` and
quotes written as numbers, and is shown by `textContent` alone; a content security policy lets run nothing but this
package's own script, by its hash.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.errors import ConfigError
from ontogeny.results.annotations import Note
from ontogeny.results.gathering import Gathering
from ontogeny.results.layouts import compute_picture
from ontogeny.results.pictures import Axis, Picture
from ontogeny.results.reader import LATENT, ResultReader
from ontogeny.results.report.cards import compute_cards, index_cards, is_on_cards, list_missing
from ontogeny.results.report.quanta import KINDS, Excerpt, compute_quanta
from ontogeny.results.report.selection import choose_latents
from ontogeny.results.style import (
    CATEGORICAL,
    DIVERGING,
    SEQUENTIAL,
    escape_controls,
    format_value,
    pick_colours,
    round_number,
)
from ontogeny.types import SITES
from ontogeny.workspace import Artifact, disk_errors

ASSETS = Path(__file__).parent
STYLES = ("page", "lists", "cards", "charts", "tables", "screens")
SCRIPTS = ("elements", "scales", "charts", "examples", "cards", "latents", "quanta", "quantum", "parts", "page")
MOST_TABLE_ROWS = 100
SEPARATORS = (",", ":")
WHOLE, GLANCE = Excerpt(), Excerpt(samples=20)  # what a page of quanta, and one of everything, shows of a quantum


def save_report(
    gathering: Gathering,
    path: Path,
    latents: Sequence[int] = (),
    top: int | None = None,
    by: str | None = None,
    lowest: bool = False,
    excerpt: Excerpt = GLANCE,
    notes: Sequence[Note] = (),
) -> list[int]:
    """Write the page, with `notes` on the cards; the latents that have a card on it.

    ConfigError where a latent or a column is not there.
    """
    readers = _open_readers(gathering)
    chosen = choose_latents(readers, latents, top, by, lowest)
    cards = compute_cards(readers, chosen, gathering.sources, notes)
    _write(path, gathering, readers, cards, excerpt, "overview")
    return chosen


def save_quanta(gathering: Gathering, path: Path, excerpt: Excerpt = WHOLE) -> int:
    """Write a page of quanta alone, with all their tokens unless told otherwise; how many there are.

    ConfigError where no quanta were found.
    """
    readers = _open_readers(gathering)
    if "quanta" not in readers:
        raise ConfigError(
            f"the results of {gathering.subject.title or gathering.subject.id} hold no quanta: put [analyses.quanta] "
            "into the recipe and run `ontogeny analyze`."
        )
    told = {kind: artifact for kind, artifact in gathering.results.items() if kind in KINDS}
    _write(path, replace(gathering, results=told), {kind: readers[kind] for kind in told}, [], excerpt, "quanta")
    return readers["quanta"].n_rows("quanta")


def _open_readers(gathering: Gathering) -> dict[str, ResultReader]:
    return {kind: ResultReader(artifact.path) for kind, artifact in gathering.results.items()}


def _write(
    path: Path,
    gathering: Gathering,
    readers: Mapping[str, ResultReader],
    cards: Sequence[Mapping[str, Any]],
    excerpt: Excerpt,
    start: str,
) -> None:
    quanta, pages = compute_quanta(readers, excerpt) or (None, [])
    contents = _contents(gathering, readers, [card[LATENT] for card in cards])
    page = render_page(contents | {"index": index_cards(cards), "quanta": quanta, "start": start}, cards, pages)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")


def _read_parts(names: Sequence[str], suffix: str) -> str:
    return "\n".join((ASSETS / f"{name}{suffix}").read_text(encoding="utf-8") for name in names)


def render_page(
    contents: Mapping[str, Any], cards: Sequence[Mapping[str, Any]], quanta: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The HTML of a report: what every reader sees at once, and cards of latents and quanta, unfolded when opened."""
    import jinja2

    style, script = _read_parts(STYLES, ".css"), _read_parts(SCRIPTS, ".js")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": SEPARATORS, "allow_nan": False}
    return environment.get_template("page.html").render(
        style=style,
        script=script,
        style_hash=_content_hash(style),
        script_hash=_content_hash(script),
        contents=contents,
        cards=cards,
        quanta=quanta,
    )


def _content_hash(text: str) -> str:
    """As a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _contents(gathering: Gathering, readers: Mapping[str, ResultReader], chosen: Sequence[int]) -> dict[str, Any]:
    """All but the cards, JSON-able; every text in it is made visible already."""
    sources = list(gathering.sources)
    return {
        "title": escape_controls(gathering.subject.title or gathering.subject.id),
        "facts": _facts(gathering),
        "sources": [escape_controls(source) for source in sources],
        "hook_points": [_hook_point(source) for source in sources],
        "times": _times(readers, sources),
        "colours": {
            "categorical": CATEGORICAL,
            "sources": pick_colours(len(sources), ordered=True),
            "sequential": SEQUENTIAL,
            "diverging": DIVERGING,
        },
        "results": [_result(artifact, readers[kind], sources, chosen) for kind, artifact in gathering.results.items()],
        "missing": list_missing(readers),
    }


def _facts(gathering: Gathering) -> list[list[str]]:
    """What, when, from which recipe: name and text."""
    manifest = gathering.subject.manifest
    structure = (manifest.get("config") or {}).get("dictionary") or {}
    activation = (structure.get("activation") or {}).get("kind")
    summary = manifest.get("summary") or {}
    facts = {
        "dictionary": gathering.subject.id if gathering.subject.kind == "dictionaries" else "",
        "recipe": ", ".join(gathering.subject.names),
        "description": str((manifest.get("recipe") or {}).get("description") or ""),
        "made": str(manifest.get("created", ""))[:16].replace("T", " "),
        "structure": ", ".join(
            part
            for part in (
                f"{structure['n_latents']:,} latents" if isinstance(structure.get("n_latents"), int) else "",
                str(activation or ""),
                f"seed {manifest['seed']}" if manifest.get("seed") is not None else "",
            )
            if part
        ),
        "sources": _shorten(gathering.sources),
        "training": ", ".join(
            f"{name} {format_value(summary[name])}" for name in ("fve", "l0") if summary.get(name) is not None
        ),
        "results": ", ".join(f"{kind} {artifact.id}" for kind, artifact in gathering.results.items()),
        "also there": f"{gathering.older} results under other settings" if gathering.older else "",
        "commit": str(manifest.get("git_commit") or "")[:12],
    }
    return [[name, escape_controls(text)] for name, text in facts.items() if text]


def _shorten(names: Sequence[str]) -> str:
    if len(names) <= 8:
        return ", ".join(names)
    return f"{', '.join(names[:3])} … {', '.join(names[-2:])} ({len(names)} sources)"


def _hook_point(source: str) -> str:
    """The hook point at the end of a source's name; nothing where all sources have the same one."""
    _, colon, name = source.rpartition(":")
    return name if colon and name.partition(".")[0] in SITES else ""


def _times(readers: Mapping[str, ResultReader], sources: Sequence[str]) -> dict[str, Any] | None:
    """Where the sources lie in time, by step or else by tokens seen; None where no result says it for all of them."""
    for reader in readers.values():
        for table in reader.tables:
            names = reader.column_names(table)
            for unit in ("step", "tokens"):
                if LATENT in names or not {"source", unit} <= set(names):
                    continue
                known = {row["source"]: row[unit] for row in reader.read(table, ["source", unit]).to_pylist()}
                if all(known.get(source) is not None for source in sources):
                    return {"unit": unit, "places": [known[source] for source in sources]}
    return None


def _result(artifact: Artifact, reader: ResultReader, sources: Sequence[str], chosen: Sequence[int]) -> dict[str, Any]:
    pictures = [compute_picture(view, reader, sources) for view in reader.views if view.kind != "tokens"]
    tables = [table for table in reader.tables if not is_on_cards(reader, table)]
    texts = [
        compute_picture(view, reader, sources)
        for view in reader.views
        if view.kind == "tokens" and not is_on_cards(reader, view.table)
    ]
    return {
        "kind": reader.kind,
        "id": artifact.id,
        "made": str(artifact.manifest.get("created", ""))[:16].replace("T", " "),
        "summary": [[name, text] for name, text in _flat(reader.summary) if text],
        "pictures": [_plain(picture) for picture in (*pictures, *texts)],
        "tables": [_table(reader, table, chosen) for table in tables],
    }


def _flat(summary: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str | list[str]]]:
    """The numbers of a summary by dotted names, with their standard errors; several texts stay several."""
    found: list[tuple[str, str | list[str]]] = []
    for name, value in summary.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            found.append((escape_controls(f"{prefix}{name}"), [escape_controls(each) for each in value]))
        elif value != [] and not (name.endswith("_se") and name[:-3] in summary):
            found.append((escape_controls(f"{prefix}{name}"), format_value(value, summary.get(f"{name}_se"))))
    return found


def _table(reader: ResultReader, table: str, chosen: Sequence[int]) -> dict[str, Any]:
    """The first rows, of the shown latents where the table has one row a latent; numbers stay numbers, to be sorted."""
    columns, n_rows = reader.columns(table), reader.n_rows(table)
    per_latent = reader.is_per_latent(table)
    rows = reader.read(table, latents=chosen).to_pylist() if per_latent else reader.head(table, MOST_TABLE_ROWS)
    rows = rows[:MOST_TABLE_ROWS]
    cells = [[_cell(row[column.name]) for column in columns] for row in rows]
    whose = "the latents of this page, " if per_latent and len(rows) < n_rows else ""
    note = f"{whose}{len(rows):,} of {n_rows:,} rows" if len(rows) < n_rows else f"{n_rows:,} rows"
    return {"name": table, "columns": [asdict(column) for column in columns], "rows": cells, "note": note}


def _cell(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return round_number(value) if number or value is None else format_value(value)


def _plain(picture: Picture) -> dict[str, Any]:
    """A picture as JSON."""
    return {
        "kind": picture.kind,
        "title": escape_controls(picture.title),
        "x": _plain_axis(picture.x),
        "y": _plain_axis(picture.y),
        "curves": [
            {
                "label": escape_controls(curve.label),
                "x": _numbers(curve.x),
                "y": _numbers(curve.y),
                "low": _numbers(curve.low),
                "high": _numbers(curve.high),
            }
            for curve in picture.curves
        ],
        "colours": pick_colours(len(picture.curves), picture.ordered),
        "cells": None if picture.cells is None else [_numbers(row) for row in picture.cells],
        "limits": [round_number(limit) for limit in picture.limits],
        "lines": [
            {
                "label": escape_controls(line.label),
                "tokens": [escape_controls(token) for token in line.tokens],
                "strengths": [round_number(each, 3) for each in line.strengths],
            }
            for line in picture.lines
        ],
        "columns": [asdict(column) for column in picture.columns],
        "rows": [[_cell(row[column.name]) for column in picture.columns] for row in picture.rows],
        "ordered": picture.ordered,
        "notes": list(picture.notes),
    }


def _plain_axis(axis: Axis) -> dict[str, Any]:
    return {"label": escape_controls(axis.label), "kind": axis.kind, "ticks": [escape_controls(t) for t in axis.ticks]}


def _numbers(values: np.ndarray | None) -> list[int | float | None] | None:
    return None if values is None else [round_number(float(value)) for value in values]
