"""An artifact as a page of text: what it rests on, its numbers with their uncertainty, its tables' first rows."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ontogeny.recipe.tree import flatten
from ontogeny.results.gathering import kind_of
from ontogeny.results.reader import ResultReader
from ontogeny.results.style import format_value
from ontogeny.results.tables import Column
from ontogeny.workspace import Artifact, Workspace

FIRST_ROWS = 8
MOST_NUMBERS = 24
WIDEST_CELL = 36
ONE_OF = {"families": "family", "corpora": "corpus", "dictionaries": "dictionary"}
"""What one artifact of a kind is called, where that is another word."""


def print_page(workspace: Workspace, artifact: Artifact, console: Console) -> None:
    """The page of one artifact: what it is, its numbers, and of an evaluation or result the tables."""
    kind = kind_of(artifact)
    console.print(f"[bold]{escape(ONE_OF.get(kind, kind))}[/bold]  {escape(artifact.title)}", highlight=False)
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for heading, text in _facts(workspace, artifact):
        grid.add_row(heading, escape(text))
    console.print(grid)
    if not (artifact.path / "result.json").is_file():
        _print_numbers(artifact.manifest.get("summary") or {}, console)
        return
    reader = ResultReader(artifact.path)
    _print_numbers(reader.summary, console)
    for table in reader.tables:
        _print_table(reader, table, console)
    titles = ", ".join(f"“{view.title}”" for view in reader.views)
    if titles:
        console.print(f"\npictures: {escape(titles)}", highlight=False)
    console.print(
        f"`ontogeny figures {artifact.id}` writes rows and pictures to files, `ontogeny report {artifact.id}` a page.",
        highlight=False,
    )


def _facts(workspace: Workspace, artifact: Artifact) -> list[tuple[str, str]]:
    """When, from what, with which settings."""
    manifest = artifact.manifest
    known = {each.id: each for each in workspace.artifacts()}
    stores = [role for role, identity in artifact.inputs.items() if _is_of(known.get(identity), "activations")]
    losses = [role for role, identity in artifact.inputs.items() if _is_of(known.get(identity), "losses")]
    rests_on = [
        f"{role} {identity}" + (f" ({known[identity].title})" if identity in known and known[identity].title else "")
        for role, identity in artifact.inputs.items()
        if role not in (*stores, *losses)
    ]
    rests_on += [f"{len(stores)} store{'s' if len(stores) > 1 else ''} of activations"] if stores else []
    rests_on += [f"losses of {len(losses)} snapshot{'s' if len(losses) > 1 else ''}"] if losses else []
    made = str(manifest.get("created", ""))[:16].replace("T", " ")
    seconds = manifest.get("seconds")
    made += f" in {seconds:.3g} s" if isinstance(seconds, int | float) else ""
    made += f" on {manifest['device']}" if manifest.get("device") else ""
    commit = manifest.get("git_commit")
    settings = [f"{key}={_setting(value)}" for key, value in flatten(manifest.get("config") or {}) if value is not None]
    facts = [("id", artifact.id), ("made", made), ("commit", str(commit)[:12] if commit else "")]
    facts += [("rests on", ", ".join(rests_on)), ("settings", ", ".join(settings)), ("files", str(artifact.path))]
    return [(heading, text) for heading, text in facts if text]


def _setting(value: Any) -> str:
    """A setting as text: a list of names is no sentence, as a list of tokens is; a table without what is not set."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_setting, value))}]"
    if isinstance(value, dict):
        told = {key: each for key, each in value.items() if each not in (None, [], {})}
        # A table in a table (what planted rules a generator follows) may be longer than all else; --json has it.
        texts = (f"{key}={'{…}' if isinstance(each, dict) else _setting(each)}" for key, each in told.items())
        return f"{{{', '.join(texts)}}}"
    return format_value(value)


def _is_of(artifact: Artifact | None, kind: str) -> bool:
    return artifact is not None and artifact.kind == kind


def _print_numbers(summary: dict[str, Any], console: Console) -> None:
    """The summary, each number with its standard error or interval where it has one."""
    told = dict(flatten(summary))
    numbers = {key: value for key, value in told.items() if not isinstance(value, list)}
    for key, value in told.items():
        if isinstance(value, list) and value:
            long = any(len(str(each)) > WIDEST_CELL for each in value)
            text = (
                "\n".join(f"• {format_value(each)}" for each in value) if long else ", ".join(map(format_value, value))
            )
            console.print(f"\n{escape(text)}" if long else f"[dim]{escape(key)}[/dim]  {escape(text)}", highlight=False)
    shown = [key for key in numbers if not _is_uncertainty(key, numbers)]
    if not shown:
        return
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for key in shown[:MOST_NUMBERS]:
        text = format_value(numbers[key], numbers.get(f"{key}_se")) or "–"
        if numbers.get(f"{key}_low") is not None and numbers.get(f"{key}_high") is not None:
            text += f"  [{format_value(numbers[f'{key}_low'])}, {format_value(numbers[f'{key}_high'])}]"
        grid.add_row(escape(key), escape(text))
    console.print()
    console.print(grid, highlight=False)
    if len(shown) > MOST_NUMBERS:
        console.print(f"… and {len(shown) - MOST_NUMBERS} more (`--json` has all)", highlight=False, style="dim")


def _is_uncertainty(key: str, known: Any) -> bool:
    return any(key.endswith(end) and key[: -len(end)] in known for end in ("_se", "_low", "_high"))


def _print_table(reader: ResultReader, table: str, console: Console) -> None:
    """The first rows of a table with units in the head; columns that do not fit are named below it."""
    columns, rows = reader.columns(table), reader.head(table, FIRST_ROWS)
    if not rows:
        console.print(f"\n{table}, empty", highlight=False)
        return
    names = {column.name for column in columns}
    wanted = [column for column in columns if not (column.name.endswith("_se") and column.name[:-3] in names)]
    cells = {column.name: [_cell(row, column.name) for row in rows] for column in wanted}
    shown, width = [], 0
    for column in wanted:
        width += max(map(len, [column.name, f"({column.unit})", *cells[column.name]])) + 3
        if width <= console.width:
            shown.append(column)
    n_rows = reader.n_rows(table)
    grid = Grid(title=f"{table}, {_count(n_rows, len(rows))}", title_justify="left", header_style="bold")
    for column in shown:
        numeric = all(isinstance(row[column.name], int | float | None) for row in rows)
        grid.add_column(_heading(column), justify="right" if numeric else "left", no_wrap=True)
    for index in range(len(rows)):
        grid.add_row(*(escape(cells[column.name][index]) for column in shown))
    console.print()
    console.print(grid)
    left = [column.name for column in wanted if column not in shown]
    if left:
        console.print(f"not shown here: {', '.join(left)}", highlight=False, style="dim")


def _count(n_rows: int, shown: int) -> str:
    if n_rows > shown:
        return f"the first {shown} of {n_rows:,} rows"
    return f"{n_rows} row{'s' if n_rows > 1 else ''}"


def _heading(column: Column) -> str:
    return escape(column.name if column.unit == "1" else f"{column.name}\n({column.unit})")


def _cell(row: dict[str, Any], name: str) -> str:
    text = format_value(row[name], row.get(f"{name}_se"))
    return text if len(text) <= WIDEST_CELL else f"{text[: WIDEST_CELL - 1]}…"
