"""The published annotation table: latents in groups of the snapshots that their effect belongs to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ontogeny.results.annotations import Note
from ontogeny.results.reader import LATENT
from ontogeny.results.style import escape_controls
from ontogeny.results.table_files import escape_latex
from ontogeny.workspace import disk_errors

NO_GROUP = "no significant effect"
RELIE = "relie "
MOST_PUBLISHED = 3
"""Snapshots that the published thresholds tell apart: with more, nearly all latents are "Other"."""
SHOWN = ("relie", LATENT, "description", "languages", "interpretable", "monosemantic")
"""The columns of the LaTeX table; of the last four those in which something is written."""


def make_table(sheet: Sequence[Mapping[str, Any]], notes: Mapping[int, Note]) -> list[dict[str, Any]]:
    """Rows of one behaviour's sheet with their notes; `relie` has the share of every snapshot, in order, as text.

    Groups are the published thresholds of RelIE, with more snapshots than they were made for the classes. They come in
    the order of the snapshots in which their effects lie, and in a group those with most of it in the first snapshot.
    """
    shares = {row[LATENT]: [float(row[name] or 0) for name in row if name.startswith(RELIE)] for row in sheet}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in sheet:
        kind = row["published_class"] if len(shares[row[LATENT]]) <= MOST_PUBLISHED else row["class"]
        groups.setdefault(kind or NO_GROUP, []).append(row)
    centres = {name: _centre([shares[row[LATENT]] for row in rows]) for name, rows in groups.items()}
    return [
        _row(name, row, notes.get(row[LATENT]), shares[row[LATENT]])
        for name in sorted(groups, key=lambda name: (centres[name], name))
        for row in sorted(groups[name], key=lambda row: [-share for share in shares[row[LATENT]]])
    ]


def _row(group: str, row: Mapping[str, Any], note: Note | None, shares: Sequence[float]) -> dict[str, Any]:
    note = note or Note(row["dictionary"], row[LATENT])
    return {
        "behaviour": row["behaviour"],
        "group": group,
        "relie": "[" + ", ".join(f"{share:.2f}".removeprefix("0") for share in shares) + "]" if any(shares) else "",
        LATENT: row[LATENT],
        "description": note.description,
        "languages": note.languages,
        "interpretable": note.interpretable,
        "monosemantic": note.monosemantic,
        "class": row["class"],
        "class_probability": row["class_probability"],
        "notes": note.notes,
        "tags": ", ".join(note.tags),
        "author": note.author,
        "changed": "" if note.changed is None else note.changed.isoformat(timespec="seconds"),
    }


def _centre(shares: Sequence[Sequence[float]]) -> float:
    """The mean place of all shares; after every other without any."""
    total = sum(map(sum, shares))
    return sum(at * share for each in shares for at, share in enumerate(each)) / total if total else float("inf")


def write_latex(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A booktabs table to \\input, each group under a line of its own."""
    names = [name for name in SHOWN if name in SHOWN[:2] or any(row[name] for row in rows)]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{" + "".join("r" if name == LATENT else "l" for name in names) + "}",
        r"\toprule",
        " & ".join({"relie": "RelIE"}.get(name, name) for name in names) + r" \\",
    ]
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines += [r"\midrule", rf"\multicolumn{{{len(names)}}}{{l}}{{\textit{{{escape_latex(group)}}}}} \\"]
        # In braces: \\ would take a [ that follows it for a length.
        lines.append(" & ".join(f"{{{_text(row[name])}}}" for name in names) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")


def _text(value: Any) -> str:
    return escape_latex(escape_controls(" ".join(str(value).split())))
