"""Figures of results: every view and every table as files."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ontogeny.results.figures import save_figures
from ontogeny.results.gathering import RESULT_KINDS, find_results, gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.table_files import list_files, save_tables
from ontogeny.workspace import Workspace


def write_figures(
    workspace: Workspace, reference: str, folder: Path | None, formats: Sequence[str], console: Console
) -> None:
    """Views and tables of one result, or of all results of a recipe or dictionary; says what was written where."""
    named = find_results(workspace, reference)
    if named.kind in RESULT_KINDS:
        artifacts = [named]
    else:
        artifacts = list(gather_results(workspace, reference).results.values())
    known = {each.id: tuple(each.manifest.get("sources", ())) for each in workspace.artifacts("dictionaries")}
    place = folder or Path("figures") / named.id
    made: list[Path] = []
    for artifact in artifacts:
        reader = ResultReader(artifact.path)
        made += save_figures(reader, place, formats, known.get(artifact.inputs.get("dictionary", ""), ()))
        made += save_tables(reader, place)
    console.print(f"{list_files(made)} written to {place}", highlight=False, markup=False)
