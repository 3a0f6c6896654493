"""What a workspace holds: listing, showing and pruning its artifacts."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from ontogeny.commands.summary import print_page
from ontogeny.config import did_you_mean
from ontogeny.errors import ArtifactError, ConfigError
from ontogeny.recipe import Recipe
from ontogeny.recipe.tree import flatten
from ontogeny.workspace import KINDS, Artifact, Workspace, directory_size

SHOWN = ("fve", "l0", "ce_recovered", "dead")
HEADINGS = ("kind", "id", "name", "what", "made", "size", *SHOWN)


def facts_of(artifact: Artifact) -> dict[str, Any]:
    """What `--where` and `--sort` may ask of an artifact: manifest, summary and config under dotted keys.

    The numbers of the summary also answer to their bare names (`fve`), the recipe's values to theirs (`training.lr`).
    """
    manifest = artifact.manifest
    facts: dict[str, Any] = {"kind": artifact.kind, "id": artifact.id, "name": artifact.title}
    facts |= {key: manifest[key] for key in ("created", "seconds", "bytes", "device", "seed") if key in manifest}
    facts |= dict(flatten(manifest.get("recipe") or {}))
    facts |= dict(flatten(manifest.get("config") or {}))
    facts |= dict(flatten(manifest.get("summary") or {}))
    return {**facts, "kind": artifact.kind, "id": artifact.id, "name": artifact.title}


def select(artifacts: Sequence[Artifact], where: Sequence[str], sort: str | None) -> list[Artifact]:
    """Artifacts whose facts equal every `key=value`, sorted by a fact, largest first; those without it come last."""
    known = {key for artifact in artifacts for key in facts_of(artifact)}
    chosen = list(artifacts)
    for condition in where:
        key, equals, value = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where {condition!r}: give it as key=value.")
        _check_key(key, known)
        chosen = [artifact for artifact in chosen if _holds(artifact, key, value)]
    if sort is not None:
        _check_key(sort, known)
        with_fact = [artifact for artifact in chosen if facts_of(artifact).get(sort) is not None]
        rest = [artifact for artifact in chosen if facts_of(artifact).get(sort) is None]
        numbers = all(isinstance(facts_of(artifact)[sort], int | float) for artifact in with_fact)
        with_fact.sort(key=lambda a: facts_of(a)[sort] if numbers else str(facts_of(a)[sort]), reverse=True)
        chosen = with_fact + rest
    return chosen


def _holds(artifact: Artifact, key: str, value: str) -> bool:
    """Whether a fact has this value, however a number is written; a name is any of the artifact's names."""
    if key == "name":
        return value in artifact.names
    fact = facts_of(artifact).get(key)
    if isinstance(fact, int | float) and not isinstance(fact, bool):
        with contextlib.suppress(ValueError):
            return fact == float(value)
    return str(fact).lower() == value.lower()


def _check_key(key: str, known: set[str]) -> None:
    if known and key not in known:
        hint = did_you_mean(key, known, "`ontogeny show ID --json` shows what there is.")
        raise ConfigError(f"no artifact here knows {key!r}; {hint}")


MOST_NAME, WIDEST = 32, 1_000
"""Characters of a name in the list; of a line, which is broken by the terminal rather than shortened."""


def with_evaluations(workspace: Workspace, artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The same artifacts, every dictionary with the numbers that its newest evaluation gave it."""
    judged = {each.inputs.get("dictionary"): each.manifest for each in workspace.artifacts("evaluations")}
    return [
        replace(each, manifest=_judged(each.manifest, judged[each.id])) if each.id in judged else each
        for each in artifacts
    ]


def _judged(manifest: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: value for name, value in (evaluation.get("summary") or {}).items() if name in SHOWN}
    return {**manifest, "summary": {**(manifest.get("summary") or {}), **numbers}}


def print_list(artifacts: Sequence[Artifact], console: Console) -> None:
    """One line an artifact, without columns that are empty in all of them; a word where there is none."""
    if not artifacts:
        console.print("nothing here answers to that", highlight=False)
        return
    rows = []
    for artifact in artifacts:
        summary = artifact.manifest.get("summary") or {}
        numbers = [format_number(summary.get(name)) for name in SHOWN]
        made = str(artifact.manifest.get("created", ""))[:16].replace("T", " ")
        size = format_bytes(artifact.manifest.get("bytes", 0))
        rows.append((artifact.kind, artifact.id, artifact.title, _what(artifact), made, size, *numbers))
    filled = [number for number in range(len(HEADINGS)) if any(row[number] for row in rows)]
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in (HEADINGS[number] for number in filled):
        # What is shared has the names of all that share it; an id must stay whole, since it is what one types.
        width = MOST_NAME if heading == "name" else None
        grid.add_column(
            heading, justify="right" if heading in ("size", *SHOWN) else "left", no_wrap=True, max_width=width
        )
    for row in rows:
        grid.add_row(*(row[number] for number in filled))
    grid.width = console.measure(grid, options=console.options.update(max_width=WIDEST)).maximum
    console.print(grid, crop=False)


def _what(artifact: Artifact) -> str:
    """What tells artifacts of one kind and name apart."""
    manifest = artifact.manifest
    if artifact.kind == "activations":
        return f"{manifest.get('source', '')} {manifest.get('config', {}).get('split', '').replace('_', '-')}".strip()
    if artifact.kind == "results":
        return str(manifest.get("analysis", ""))
    if artifact.kind in ("losses", "grams", "clusters"):
        return str(manifest.get("snapshot", ""))
    n_sources = len(manifest.get("sources", ()))
    return f"{n_sources} source{'s' if n_sources > 1 else ''}" if n_sources else ""


def format_number(value: Any) -> str:
    """Four digits of a number, nothing for what is missing."""
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def format_bytes(count: int | float) -> str:
    """Bytes in the unit that fits, by thousands."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def print_artifact(workspace: Workspace, artifact: Artifact, console: Console, as_json: bool) -> None:
    """An artifact's page of text, or its whole manifest."""
    if as_json:
        console.print_json(json.dumps({**artifact.manifest, "path": str(artifact.path)}))
        return
    print_page(workspace, artifact, console)


def print_rows(title: str, rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Rows as a table; numbers with four digits, missing ones empty."""
    if not rows:
        return
    grid = Grid(title=title, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        grid.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row.values()))
    console.print(grid)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    # Model text may hold anything: control characters shown as escapes, brackets not taken for markup.
    return "" if value is None else str(value).replace("\n", "⏎").replace("[", r"\[")


def print_resolved(recipe: Recipe, console: Console) -> None:
    """Every value of a recipe and where it came from."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("key", no_wrap=True)
    grid.add_column("value", overflow="fold")
    grid.add_column("from", no_wrap=True)
    for key, value, origin in recipe.resolved():
        grid.add_row(key, json.dumps(value, ensure_ascii=False).replace("[", r"\["), origin)
    console.print(grid)


def find_prunable(workspace: Workspace) -> list[Artifact]:
    """Stores that nothing needs any more: activations whose every dictionary is evaluated, or that none was made from,
    and products of gradients that were clustered and whose clusters a result rests on.

    A store is needed while a dictionary trained on it is unfinished or has no evaluation yet. Everything can be made
    again.
    """
    evaluated = {artifact.inputs.get("dictionary") for artifact in workspace.artifacts("evaluations")}
    waiting = [artifact for artifact in workspace.artifacts("dictionaries") if artifact.id not in evaluated]
    for kind in ("dictionaries", "evaluations", "results"):
        waiting += workspace.drafts(kind, being_made=True)
    needed = {identity for artifact in waiting for identity in artifact.inputs.values()}
    activations = workspace.artifacts("activations")
    # A dictionary names what it was trained on; its evaluation will read the held-out rows of the same sources.
    sources = [_source_of(artifact) for artifact in activations if artifact.id in needed]
    stores = [each for each in activations if each.id not in needed and _source_of(each) not in sources]
    return stores + _find_told_grams(workspace)


def _source_of(store: Artifact) -> tuple[dict[str, Any], dict[str, str]]:
    """What both splits of one source's activations have in common."""
    config = store.manifest.get("config") or {}
    return {key: value for key, value in config.items() if key != "split"}, store.inputs


def _find_told_grams(workspace: Workspace) -> list[Artifact]:
    """Grams that nothing unfinished rests on, with clusters of which all are in some result."""
    told = {identity for artifact in workspace.artifacts("results") for identity in artifact.inputs.values()}
    drafts = workspace.drafts("results", being_made=True)
    waiting = {identity for draft in drafts for identity in draft.inputs.values()}
    if workspace.drafts("clusters", being_made=True):
        return []
    made = workspace.artifacts("clusters")
    clusters = {gram.id: {each.id for each in made if each.manifest.get("gram") == gram.id}
                for gram in workspace.artifacts("grams")}  # fmt: skip
    return [gram for gram in workspace.artifacts("grams") if clusters[gram.id] and clusters[gram.id] <= told - waiting]


def prune(workspace: Workspace, console: Console, really: bool) -> None:
    """Say what could go, and delete it if `really`: unneeded stores, and what cut-off runs left of stores."""
    stores = find_prunable(workspace)
    drafts = [draft for kind in ("activations", "losses", "grams", "clusters") for draft in workspace.drafts(kind)]
    total = 0
    for artifact in stores:
        total += directory_size(artifact.path)
        console.print(f"{artifact.kind} {artifact.id}  {artifact.title}  {_what(artifact)}", highlight=False)
    for artifact in drafts:
        total += directory_size(artifact.path)
        console.print(f"unfinished {artifact.kind} {artifact.id}  {artifact.title}", highlight=False)
    if really:
        for artifact in [*stores, *drafts]:
            workspace.remove(artifact)
    verb = "freed" if really else "could be freed (nothing deleted yet: add --yes)"
    console.print(f"{len(stores) + len(drafts)} stores, {format_bytes(total)} {verb}", highlight=False)


def check_kind(kind: str | None) -> None:
    """ArtifactError names the kinds where this is none."""
    if kind is not None and kind not in KINDS:
        raise ArtifactError(f"there is no kind {kind!r}; the kinds are {', '.join(KINDS)}.")
