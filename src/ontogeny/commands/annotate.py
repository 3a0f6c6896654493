"""Latents out for annotation, and back: a page and a sheet to fill, notes, the annotation table."""

import getpass
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ontogeny.commands.listing import print_rows
from ontogeny.commands.report import parse_latents
from ontogeny.errors import AnnotationError
from ontogeny.latents.shares import wilson_interval
from ontogeny.results.annotation_sheets import (
    ANSWERS,
    check_behaviour,
    list_behaviours,
    make_rows,
    read_sheet,
    strongest_latents,
    write_rows,
)
from ontogeny.results.annotation_table import make_table, write_latex
from ontogeny.results.annotations import latest_notes, load_notes, open_notes
from ontogeny.results.gathering import Gathering, gather_results
from ontogeny.results.reader import LATENT, ResultReader
from ontogeny.results.report import save_report
from ontogeny.workspace import Workspace

TOP = 20
PRINTED = ("group", "relie", LATENT, "description", "languages", "interpretable", "monosemantic")


@dataclass(frozen=True)
class Choice:
    """Which latents go out: these, or the `top` of a behaviour (of `each` snapshot)."""

    behaviour: str | None = None
    top: int | None = None
    each: bool = False
    latents: str | None = None


class Annotation:
    """A result of indirect effects, the dictionary that it is of, and the notes on its latents."""

    def __init__(self, workspace: Workspace, reference: str, notes: str | None, console: Console) -> None:
        from ontogeny.dictionaries.crosscoder import load_dictionary

        self.workspace, self.url, self.console = workspace, notes, console
        self.gathering: Gathering = gather_results(workspace, reference)
        if "indirect_effects" not in self.gathering.results:
            raise AnnotationError(
                f"dictionary {self.id} has no indirect effects to annotate by: add [analyses.indirect_effects] to its "
                "recipe and run `ontogeny analyze`."
            )
        self.reader = ResultReader(self.gathering.results["indirect_effects"].path)
        dictionary = load_dictionary(self.gathering.dictionary.path)
        self.n_latents = dictionary.n_latents
        norms = dictionary.decoder_norms().detach().double().cpu().numpy()
        self.norms = dict(zip(self.gathering.sources, norms.T, strict=False))

    @property
    def id(self) -> str:
        """The dictionary's id, by which notes are kept."""
        return self.gathering.dictionary.id

    def write(self, choice: Choice, folder: Path | None) -> None:
        """The page and the sheet of some latents, and where they are."""
        behaviour = check_behaviour(self.reader, choice.behaviour)
        latents = self._choose(behaviour, choice)
        folder = _check_folder(folder or Path(f"annotations-{self.id}"))
        page, sheet = (folder / f"{_file_name(behaviour)}.{ending}" for ending in ("html", "csv"))
        save_report(self.gathering, page, latents, notes=load_notes(self.workspace, self.id, self.url))
        write_rows(self._rows(behaviour, latents), sheet)
        self._say(f"{page}: {len(latents)} latents of {behaviour}")
        self._say(f"{sheet}: fill it in, then `ontogeny annotate {self.id} --import {sheet}`")

    def read(self, file: Path, author: str | None, folder: Path | None) -> None:
        """Keep what a filled sheet says; the annotation table of its latents, printed and as CSV and LaTeX."""
        folder = _check_folder(folder or file.parent)
        filled = read_sheet(file, self.id, list_behaviours(self.reader), self.n_latents, author or _user())
        with open_notes(self.workspace, self.url) as store:
            saved = store.save(filled.notes)
        self._say(
            f"{saved.new} new notes, {saved.changed} changed, {saved.same} as they were; {filled.n_empty} empty rows"
        )
        for behaviour, latents in filled.latents.items():
            rows = make_table(self._rows(behaviour, latents), self._notes(behaviour, latents))
            print_rows(behaviour, [{name: row[name] for name in PRINTED} for row in rows], self.console)
            print_rows("Judged", _judgements(rows), self.console)
            stem = folder / f"{_file_name(behaviour)}-table"
            write_rows(rows, stem.with_name(f"{stem.name}.csv"))
            write_latex(rows, stem.with_name(f"{stem.name}.tex"))
            self._say(f"{stem}.csv, .tex: {len(rows)} latents")

    def _choose(self, behaviour: str, choice: Choice) -> list[int]:
        named = list(dict.fromkeys(parse_latents(choice.latents)))
        wrong = [latent for latent in named if latent >= self.n_latents]
        if wrong:
            raise AnnotationError(f"there is no latent {wrong[0]}: this dictionary has {self.n_latents}, from 0 on.")
        if choice.top is not None and choice.top < 1:
            raise AnnotationError(f"--top {choice.top}: annotate at least 1 latent.")
        if named:
            return named[: choice.top]
        latents = strongest_latents(self.reader, behaviour, choice.top or TOP, choice.each)
        if not latents:
            raise AnnotationError(f"no latent has any effect on {behaviour}: nothing to annotate.")
        return latents

    def _notes(self, behaviour: str, latents: Sequence[int]) -> Mapping[int, Any]:
        with open_notes(self.workspace, self.url) as store:
            return latest_notes(store.load(self.id, latents, behaviour))

    def _rows(self, behaviour: str, latents: Sequence[int]) -> list[dict[str, Any]]:
        return make_rows(self.reader, self.id, behaviour, latents, self._notes(behaviour, latents), self.norms)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _judgements(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of every group: how many are described, and what share of those judged is interpretable, with its interval."""
    found = []
    for group in dict.fromkeys(row["group"] for row in rows):
        here = [row for row in rows if row["group"] == group]
        judged = [row["interpretable"] for row in here if row["interpretable"] in ANSWERS[1:]]
        yes = sum(answer == "yes" for answer in judged)
        low, high = wilson_interval(yes, len(judged))
        found.append(
            {
                "group": group,
                "n": len(here),
                "described": sum(bool(row["description"]) for row in here),
                "judged": len(judged),
                "interpretable": yes / len(judged) if judged else None,
                "low": low,
                "high": high,
            }
        )
    return found


def _check_folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise AnnotationError(f"--dest {folder} is a file; name a folder.")
    return folder


def _file_name(behaviour: str) -> str:
    """A behaviour's name as a file may be called."""
    return re.sub(r"[^\w.-]+", "-", behaviour).strip("-.") or "behaviour"


def _user() -> str:
    """Who is logged in; nobody where the machine does not know."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # KeyError before Python 3.13
        return ""
