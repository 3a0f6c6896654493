"""From a recipe's words to the list of snapshots: by revision, step, range, folder pattern or base and chat."""

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ontogeny.errors import RevisionNotFound, SnapshotError
from ontogeny.snapshots.catalog import tokens_seen
from ontogeny.snapshots.config import SeriesConfig, StepRange
from ontogeny.snapshots.hub import is_local, list_references, revision_not_found, split_revision
from ontogeny.snapshots.names import natural_key, nearest_steps, step_of
from ontogeny.types import Snapshot


def select_snapshots(config: SeriesConfig) -> list[Snapshot]:
    """The snapshots of a series in the order of training; the hub is asked only where steps must be looked up.

    RevisionNotFound lists the nearest revisions or steps; SnapshotError when nothing matches.
    """
    if config.base is not None and config.chat is not None:
        pair = {"base": split_revision(config.base), "chat": split_revision(config.chat)}
        return [Snapshot(*where, label=label) for label, where in pair.items()]
    if config.folders is not None:
        return _folder_snapshots(config, config.folders)
    assert config.model is not None, "SeriesConfig allows no fourth kind of series"
    model, pinned = split_revision(config.model)
    if is_local(model) and (config.revisions or config.steps or config.range):
        raise SnapshotError(
            f"{model} is a local folder and has no revisions; give folders = '{model}/*' with steps or range."
        )
    revisions = _revision_names(config, model)
    if revisions is None:
        label = pinned or Path(model).name
        return [_snapshot(config, model, pinned, label)]
    return _unique_labels([_snapshot(config, model, name, name) for name in revisions])


def _snapshot(config: SeriesConfig, model: str, revision: str | None, name: str) -> Snapshot:
    step = step_of(name)
    return Snapshot(model, revision, step, tokens_seen(model, name, step, config.tokens_per_step), name)


def _unique_labels(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Short labels `step1000` where they stay unique, the full names otherwise (`stage1-step1000-tokens5B`)."""
    short = [s.label if s.step is None else f"step{s.step}" for s in snapshots]
    if len(set(short)) < len(short):
        return list(snapshots)
    return [Snapshot(s.model, s.revision, s.step, s.tokens, label) for s, label in zip(snapshots, short, strict=True)]


def _revision_names(config: SeriesConfig, model: str) -> list[str] | None:
    """Revision names of a hub series in the recipe's order; None for the default revision alone."""
    if config.revisions is not None:
        return list(config.revisions)
    if config.steps is not None and "*" not in config.revision_format:
        return [config.revision_format.format(step=step) for step in config.steps]
    if config.steps is None and config.range is None:
        return None
    known = _steps_in_names([ref.name for ref in list_references(model)], config.revision_format)
    if not known:
        names = [ref.name for ref in list_references(model)]
        raise revision_not_found(model, config.revision_format, names)
    if config.range is not None:
        return [known[step] for step in choose_steps(config.range, sorted(known))]
    assert config.steps is not None, "either steps or range is given here"
    for step in config.steps:
        if step not in known:
            raise revision_not_found(model, config.revision_format.format(step=step), list(known.values()))
    return [known[step] for step in config.steps]


def _steps_in_names(names: Iterable[str], revision_format: str) -> dict[int, str]:
    """step → name for the names of the form `revision_format`, in which `*` stands for anything."""
    pattern = re.escape(revision_format).replace(r"\{step\}", r"0*(\d+)").replace(r"\*", ".*")
    found = [(int(match[1]), name) for name in names if (match := re.fullmatch(pattern, name))]
    return dict(sorted(found))


def choose_steps(wanted: StepRange, known: Sequence[int]) -> list[int]:
    """The known steps nearest to `count` points between first and last, even in log2(1 + step) or in steps.

    Point i of n: log, 2^(a + (b − a)·i/(n − 1)) − 1 with a = log2(1 + first), b = log2(1 + last); linear likewise
    without logarithms. A step that is nearest twice is taken once.
    """
    last = max(known) if wanted.last is None else wanted.last
    if wanted.spacing == "log":
        points = np.exp2(np.linspace(np.log2(1 + wanted.first), np.log2(1 + last), wanted.count)) - 1
    else:
        points = np.linspace(wanted.first, last, wanted.count)
    array = np.array(sorted(known), dtype=np.float64)
    inside = array[(array >= wanted.first) & (array <= last)]
    if inside.size == 0:
        raise RevisionNotFound(
            f"no snapshot has a step from {wanted.first} to {last}; the nearest steps are "
            f"{', '.join(map(str, nearest_steps(wanted.first, list(known))))}."
        )
    return sorted({int(inside[np.abs(inside - point).argmin()]) for point in points})


def _matching_folders(pattern: str) -> list[Path]:
    """The model folders that a pattern matches; where it matches none, its brackets are taken for part of a name."""
    whole = str(Path(pattern).expanduser())
    for each in (whole, whole.replace("[", "[[]")):
        # Not Path.glob: it refuses absolute patterns before Python 3.13.
        folders = [Path(name) for name in glob.glob(each) if (Path(name) / "config.json").is_file()]  # noqa: PTH207
        if folders:
            return folders
    raise SnapshotError(f"no model folder (one with a config.json) matches {pattern!r}; check series.folders.")


def _distinct_names(folders: Sequence[Path]) -> dict[str, Path]:
    """Name → folder: the parts of the path in which the folders differ (`run/step1/hf`, `run/step2/hf`: `step1`)."""
    if len(folders) == 1:
        return {folders[0].name: folders[0]}
    differing = [len(set(level)) > 1 for level in zip(*(folder.parts for folder in folders), strict=True)]
    names = ["-".join(part for part, differs in zip(f.parts, differing, strict=True) if differs) for f in folders]
    return dict(zip(names, folders, strict=True))


def _folder_snapshots(config: SeriesConfig, pattern: str) -> list[Snapshot]:
    """Snapshots of the folders that match, in natural order, narrowed by steps or range."""
    folders = _matching_folders(pattern)
    names = _distinct_names(folders)
    found = [_snapshot(config, str(names[name]), None, name) for name in sorted(names, key=natural_key)]
    if config.steps is None and config.range is None:
        return _unique_labels(found)
    known = {s.step: s for s in found if s.step is not None}
    if not known:
        raise SnapshotError(f"no folder name that matches {pattern!r} says a step; name them like step1000.")
    steps = config.steps if config.range is None else choose_steps(config.range, sorted(known))
    assert steps is not None, "either steps or range is given here"
    for step in steps:
        if step not in known:
            close = ", ".join(map(str, nearest_steps(step, list(known))))
            raise RevisionNotFound(
                f"no folder that matches {pattern!r} holds step {step}; the nearest steps are {close}."
            )
    return _unique_labels([known[step] for step in steps])
