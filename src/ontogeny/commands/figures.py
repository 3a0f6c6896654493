"""Figures of results: every view and every table as files."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ontogeny.results.figures import save_figures
from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.table_files import list_files, save_tables
from ontogeny.workspace import Workspace


def write_figures(
    workspace: Workspace, reference: str, folder: Path | None, formats: Sequence[str], console: Console
) -> None:
    """Views and tables of one result, or of all results of a recipe or dictionary; says what was written where."""
    gathered = gather_results(workspace, reference)
    artifacts = [gathered.chosen] if gathered.chosen is not None else list(gathered.results.values())
    place = folder or Path("figures") / (gathered.chosen or gathered.dictionary).id
    made: list[Path] = []
    for artifact in artifacts:
        reader = ResultReader(artifact.path)
        made += save_figures(reader, place, formats, gathered.sources)
        made += save_tables(reader, place)
    console.print(f"{list_files(made)} written to {place}", highlight=False, markup=False)
