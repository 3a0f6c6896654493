"""What snapshots a model has: branches and tags with step, tokens and size, and a recipe section to paste."""

import fnmatch
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.hub import is_local, list_references, weight_files
from ontogeny.snapshots.names import natural_key, step_of, tokens_of, tokens_per_step_of

_PARALLEL_REQUESTS = 8


@dataclass(frozen=True)
class Revision:
    """One published snapshot of a model.

    `kind` is branch, tag or folder; `step` in optimizer steps and `tokens` seen are None where neither the name nor
    the publisher says them; `size_bytes` counts the weights only and is None where it was not asked for; `sha` is the
    commit (empty for a folder).
    """

    name: str
    kind: str
    step: int | None
    tokens: int | None
    size_bytes: int | None
    sha: str


def tokens_seen(model: str, name: str, step: int | None, tokens_per_step: int | None = None) -> int | None:
    """Tokens seen at a snapshot: step × tokens per step where both are known, else what its name states."""
    per_step = tokens_per_step or tokens_per_step_of(model)
    if step is not None and per_step is not None:
        return step * per_step
    return tokens_of(name)


def list_revisions(model: str, match: str | None = None, sizes: bool = True) -> list[Revision]:
    """Branches and tags of a hub model (or the snapshot folders inside a local folder), by step, then by name.

    `match` is a shell pattern on the name. `sizes` costs one request a revision, eight at a time.
    """
    if is_local(model):
        found = [(folder.name, "folder", "", str(folder)) for folder in Path(model).iterdir() if _is_snapshot(folder)]
    else:
        found = [(ref.name, ref.kind, ref.commit, model) for ref in list_references(model)]
    chosen = [entry for entry in found if match is None or fnmatch.fnmatchcase(entry[0], match)]
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        byte_counts = list(pool.map(lambda entry: _size(entry[3], entry[0]) if sizes else None, chosen))
    revisions = []
    for (name, kind, sha, _), size in zip(chosen, byte_counts, strict=True):
        step = step_of(name)
        revisions.append(Revision(name, kind, step, tokens_seen(model, name, step), size, sha))
    return sorted(revisions, key=lambda r: (r.step is None, r.step or 0, natural_key(r.name)))


def _is_snapshot(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _size(model: str, revision: str) -> int:
    return sum(file.size_bytes for file in weight_files(model, None if is_local(model) else revision))


def render_recipe_section(model: str, revisions: Sequence[Revision]) -> str:
    """The `[series]` section of a recipe that names these revisions: those with a step, or all if none has one.

    SnapshotError when the list is empty.
    """
    if not revisions:
        what = "folder inside with a config.json" if is_local(model) else "revision"
        raise SnapshotError(f"{model!r} has no {what} that matches; drop --match to see all, or name another.")
    named = [revision for revision in revisions if revision.step is not None] or list(revisions)
    lines = ["[series]"]
    if named[0].kind == "folder":
        lines.append(f'folders = "{Path(model).as_posix()}/*"')
        if all(revision.step is not None for revision in named):
            lines.append(f"steps = {_wrapped([str(revision.step) for revision in named])}")
    else:
        lines += [f'model = "{model}"', f"revisions = {_wrapped([_quoted(revision.name) for revision in named])}"]
    per_step = tokens_per_step_of(model)
    if per_step is not None:
        lines.append(f"tokens_per_step = {per_step}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _wrapped(items: Sequence[str], width: int = 110) -> str:
    """A TOML list, broken into lines once it is longer than `width`."""
    flat = ", ".join(items)
    if len(flat) <= width:
        return f"[{flat}]"
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > width:
            lines.append(line.rstrip())
            line = ""
        line += f"{item}, "
    return "[\n    " + "\n    ".join([*lines, line.rstrip()]) + "\n]"
