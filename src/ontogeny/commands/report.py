"""The report of a dictionary's results, as one HTML file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from ontogeny.errors import ConfigError
from ontogeny.results.annotations import load_notes
from ontogeny.results.gathering import gather_results
from ontogeny.results.report import GLANCE, Excerpt, save_quanta, save_report
from ontogeny.workspace import Workspace

MOST_NAMED = 100_000
"""Latents that may be named at once: a slip of the keyboard must not fill the memory."""


@dataclass(frozen=True)
class LatentChoice:
    """Which latents a report shows, as the command line says it."""

    latents: str | None = None
    top: int | None = None
    by: str | None = None
    lowest: bool = False


def write_report(
    workspace: Workspace,
    reference: str,
    path: Path | None,
    choice: LatentChoice,
    excerpt: Excerpt,
    console: Console,
    notes: str | None = None,
) -> None:
    """Write the page of everything, with the notes in the database at the URL `notes`, and say where it is."""
    if choice.top is not None and choice.top < 1:
        raise ConfigError(f"--top {choice.top}: show at least 1 latent.")
    gathered = gather_results(workspace, reference)
    file = _place(path, f"report-{gathered.subject.id}.html")
    excerpt = excerpt if excerpt.samples is not None else replace(excerpt, samples=GLANCE.samples)
    known = load_notes(workspace, gathered.subject.id, notes)
    latents = parse_latents(choice.latents)
    chosen = save_report(gathered, file, latents, choice.top, choice.by, choice.lowest, excerpt, known)
    _say(console, file, f"{len(chosen)} latents, {', '.join(gathered.results)}")


def write_quanta(workspace: Workspace, reference: str, path: Path | None, excerpt: Excerpt, console: Console) -> None:
    """Write the page of quanta alone and say where it is."""
    gathered = gather_results(workspace, reference)
    file = _place(path, f"quanta-{gathered.subject.id}.html")
    _say(console, file, f"{save_quanta(gathered, file, excerpt)} quanta")


def _place(path: Path | None, name: str) -> Path:
    return Path(name) if path is None else path / name if path.is_dir() else path


def _say(console: Console, file: Path, what: str) -> None:
    from ontogeny.commands.listing import format_bytes

    size = format_bytes(file.stat().st_size)
    console.print(f"{file}: {what}; {size}", highlight=False, markup=False, soft_wrap=True)


def parse_latents(text: str | None, option: str = "--latents") -> Sequence[int]:
    """`1,2,10-14` as numbers; ConfigError names what is none."""
    found: list[int] = []
    for part in (text or "").replace(" ", "").split(","):
        span = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if span is None:
            if text is None:
                continue
            raise ConfigError(f"{option} {part!r}: give numbers and spans, for example 1,2,10-14.")
        span_of = range(int(span[1]), int(span[2] or span[1]) + 1)
        if not span_of:
            raise ConfigError(f"{option} {part!r}: the span runs backwards; write {span[2]}-{span[1]}.")
        if len(found) + len(span_of) > MOST_NAMED:
            raise ConfigError(f"{option} {part!r}: more than {MOST_NAMED:,} latents; name fewer.")
        found += span_of
    return found
