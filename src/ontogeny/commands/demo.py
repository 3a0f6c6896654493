"""The demo: the whole story on a model grown on this machine, told in three tables."""

import itertools
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ontogeny.analyses.lifetimes import LifetimesConfig
from ontogeny.results import Result, load_result
from ontogeny.results.gathering import RESULT_KINDS, kind_of
from ontogeny.workspace import Artifact

QUALITY = (
    ("source", "snapshot", "{}"),
    ("ce_clean", "loss (nats)", "{:.3f}"),
    ("fve", "variance explained", "{:.3f}"),
    ("l0", "latents per token", "{:.1f}"),
    ("ce_recovered", "CE recovered", "{:.3f}"),
)


def print_story(made: Sequence[Artifact], console: Console, variant: str = "") -> None:
    """What a run found, for a person: quality per snapshot, lives of latents, the latest and the earliest of them.

    `variant` says which member of a sweep it is.
    """
    if variant:
        console.rule(variant)
    found = {kind_of(artifact): artifact for artifact in made if artifact.kind in RESULT_KINDS}
    if "evaluation" in found:
        print_quality(load_result(found.pop("evaluation").path), console)
    if "lifetimes" in found:
        lifetimes = load_result(found.pop("lifetimes").path)
        print_lives(lifetimes, console)
        print_extremes(lifetimes, console)
    for kind, artifact in found.items():
        console.print(f"{kind}: `ontogeny show {artifact.id}`", highlight=False, markup=False)
        if "dictionary" not in artifact.inputs:
            print_sentences(artifact, console)
    for page in _pages(found):
        console.print(page, highlight=False, markup=False)


def _pages(found: dict[str, Artifact]) -> list[str]:
    """The reports that these results go into: all of a dictionary's, and one of the quanta with all their tokens."""
    pages = []
    if any("dictionary" in artifact.inputs for artifact in found.values()):
        pages.append(f"all of it on one page: `ontogeny report '{next(iter(found.values())).names[-1]}'`")
    if "quanta" in found:
        pages.append(f"a page for every quantum: `ontogeny report '{found['quanta'].names[-1]}' --clusters`")
    return pages


def print_sentences(artifact: Artifact, console: Console) -> None:
    """What a result says in words."""
    for sentence in (artifact.manifest.get("summary") or {}).get("sentences", ()):
        console.print(f"  • {sentence}", highlight=False, markup=False)


def print_quality(evaluation: Result, console: Console) -> None:
    """Per snapshot: the model's loss, and how much of it the dictionary keeps, with standard errors where known."""
    grid = Grid(title="How well one dictionary explains every snapshot (held-out text)", header_style="bold")
    for _, heading, _ in QUALITY:
        grid.add_column(heading, justify="left" if heading == "snapshot" else "right")
    for row in evaluation.table("per_source").rows():
        grid.add_row(*(_with_error(row, name, form) for name, _, form in QUALITY))
    console.print(grid)
    summary = evaluation.summary
    words = [f"Mean variance explained {summary['fve']:.3f} at {summary['l0']:.1f} latents per token"]
    words.append(f"{summary['dead']:.1%} of the latents never fire")
    rows = evaluation.table("per_source").rows()
    if any(row.get("ce_clean") is not None and row.get("ce_recovered") is None for row in rows):
        words.append("CE recovered is blank where ablation costs the model too little to measure it")
    console.print("; ".join(words) + ".\n", highlight=False)


def _with_error(row: dict[str, Any], name: str, form: str) -> str:
    value, error = row.get(name), row.get(f"{name}_se")
    if value is None:
        return ""
    text = form.format(value)
    return text if error is None else f"{text} ± {form.format(error)}"


def print_lives(lifetimes: Result, console: Console) -> None:
    """How many latents live in which snapshots."""
    grid = Grid(title="In which snapshots latents live", header_style="bold")
    for heading in ("snapshot", "live", "born here", "gone since the last"):
        grid.add_column(heading, justify="left" if heading == "snapshot" else "right")
    for row in lifetimes.table("live").rows():
        grid.add_row(row["source"], *(f"{row[name]:,}" for name in ("live", "born", "gone")))
    console.print(grid)
    summary = lifetimes.summary
    share = summary.get("live_share", LifetimesConfig.model_fields["live_share"].default)
    console.print(
        f"A latent lives where its decoder norm is at least {share:g} of its largest. {summary['n_seen']:,} of "
        f"{summary['n_latents']:,} latents fire on {summary['n_tokens']:,} held-out tokens; "
        f"{summary['live_in_all']:,} live in all snapshots, {summary['live_in_one']:,} in one only.\n",
        highlight=False,
    )


def print_extremes(lifetimes: Result, console: Console) -> None:
    """The latents that appear latest and earliest, where some appear after others."""
    rows: dict[str, list[dict[str, Any]]] = {"latest": [], "earliest": []}
    for row in lifetimes.table("extremes").rows():
        rows[row["which"]].append(row)
    begin = {row["first"] for row in rows["earliest"] if row["rank"] == 0}
    rows["latest"] = [row for row in rows["latest"] if row["first"] not in begin]
    if rows["latest"]:
        for which, shown in rows.items():
            console.print(_extremes(which, shown), "")


def _extremes(which: str, rows: Sequence[dict[str, Any]]) -> Grid:
    """A line a latent, with its strongest tokens in context."""
    grid = Grid(title=f"The latents that appear {which}", header_style="bold")
    grid.add_column("latent", justify="right")
    grid.add_column("first live in")
    grid.add_column("fires on", justify="right")
    grid.add_column("strongest tokens in context", overflow="fold")
    for _, contexts in itertools.groupby(sorted(rows, key=itemgetter("rank")), key=itemgetter("rank")):
        first, *others = contexts
        texts = "\n".join(_context(row) for row in (first, *others))
        grid.add_row(str(first["latent"]), first["first"], f"{first['n_tokens']:,} tokens", texts)
    return grid


def _context(row: dict[str, Any]) -> str:
    """One line; the marked token stands out on a terminal and between «» everywhere."""
    before, token, after = (escape(_one_line(row[part])) for part in ("before", "token", "after"))
    return f"{before}[bold]«{token}»[/bold]{after}"


def _one_line(text: str) -> str:
    """Control characters of model text must reach no terminal; line breaks are shown as ⏎."""
    return "".join(c if c.isprintable() else "⏎" if c == "\n" else "·" for c in text)
