"""Several dictionaries side by side: fve and cross-entropy against l0, mean ± sd over seeds."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from ontogeny.errors import ArtifactError
from ontogeny.recipe.tree import flatten
from ontogeny.workspace import Artifact, Workspace

INPUT_SECTIONS = ("series", "corpus", "activations")
NUMBERS = ("l0", "fve", "ce_recovered", "dead")


@dataclass(frozen=True)
class Group:
    """Evaluations of dictionaries that differ in nothing but their seeds."""

    label: str
    evaluations: tuple[Artifact, ...]

    def values(self, name: str) -> list[float]:
        """One number of every evaluation that has it."""
        found = [artifact.manifest["summary"].get(name) for artifact in self.evaluations]
        return [float(value) for value in found if value is not None]

    def mean(self, name: str) -> float | None:
        """Mean over the seeds."""
        values = self.values(name)
        return sum(values) / len(values) if values else None

    def sd(self, name: str) -> float | None:
        """Standard deviation over the seeds (n - 1); None below two of them."""
        values = self.values(name)
        if len(values) < 2:
            return None
        mean = sum(values) / len(values)
        return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def find_evaluations(workspace: Workspace, references: Sequence[str]) -> list[Artifact]:
    """Evaluations by name (all of that name and of its sweeps), by their own id or by their dictionary's."""
    evaluations = workspace.artifacts("evaluations")
    chosen: dict[str, Artifact] = {}
    for reference in references:
        named = [each for each in evaluations if any(reference in (name, _recipe(name)) for name in each.names)]
        by_id = [
            each
            for each in evaluations
            if each.id.startswith(reference) or each.inputs.get("dictionary", "").startswith(reference)
        ]
        found = named or by_id
        if not found:
            raise ArtifactError(f"no evaluation answers to {reference!r}; see `ontogeny list --kind evaluations`.")
        chosen |= {each.id: each for each in found}
    return list(chosen.values())


def _recipe(name: str) -> str:
    """The recipe of an artifact's name, which in a sweep says also which member it is ("demo k=32")."""
    return name.partition(" ")[0]


def group_by_setting(workspace: Workspace, evaluations: Sequence[Artifact]) -> list[Group]:
    """Groups of equal settings but for seeds, in order of l0; a label says what differs between the groups."""
    dictionaries = {artifact.id: artifact for artifact in workspace.artifacts("dictionaries")}
    settings: dict[str, dict[str, object]] = {}
    members: dict[str, list[Artifact]] = {}
    for evaluation in evaluations:
        dictionary = dictionaries.get(evaluation.inputs["dictionary"])
        config = dict(flatten(dictionary.manifest["config"])) if dictionary else {"dictionary": evaluation.id}
        inputs = sorted(dictionary.inputs.values()) if dictionary else []
        config.pop("training.seed", None)
        key = json.dumps([config, inputs, evaluation.manifest["config"]], sort_keys=True)
        settings[key] = {"name": ", ".join(dict.fromkeys(map(_recipe, evaluation.names))), **_told(dictionary)}
        members.setdefault(key, []).append(evaluation)
    every = list(settings.values())
    differing = [name for name in every[0] if len({json.dumps(each.get(name)) for each in every}) > 1]
    groups = [Group(_label(settings[key], differing), tuple(found)) for key, found in members.items()]
    return sorted(groups, key=lambda group: group.mean("l0") or 0.0)


def _told(dictionary: Artifact | None) -> dict[str, object]:
    """What a label may say of a dictionary: its own config, and what its recipe says of snapshots and text."""
    if dictionary is None:
        return {}
    of_inputs = {key: (dictionary.manifest.get("recipe") or {}).get(key) or {} for key in INPUT_SECTIONS}
    told = dict(flatten({**dictionary.manifest["config"], **of_inputs}))
    return {key: value for key, value in told.items() if key != "training.seed"}


def _label(setting: dict[str, object], differing: Sequence[str]) -> str:
    parts = [str(setting["name"])] if not differing or "name" in differing else []
    told = {name: setting.get(name) for name in differing if name != "name"}
    parts += [f"{name.rpartition('.')[2]}={value}" for name, value in told.items() if value is not None]
    return " ".join(parts)


def print_comparison(groups: Sequence[Group], console: Console) -> None:
    """One line a group."""
    grid = Grid(header_style="bold")
    grid.add_column("dictionary")
    grid.add_column("seeds", justify="right")
    for name in NUMBERS:
        grid.add_column(name, justify="right")
    for group in groups:
        grid.add_row(group.label, str(len(group.evaluations)), *(_number(group, name) for name in NUMBERS))
    console.print(grid)


def _number(group: Group, name: str) -> str:
    mean, sd = group.mean(name), group.sd(name)
    if mean is None:
        return ""
    return f"{mean:.4g}" if sd is None else f"{mean:.4g} ± {sd:.2g}"


def plot_comparison(groups: Sequence[Group], path: Path) -> None:
    """fve and CE recovered against l0, a point a group, bars of one sd over seeds where there are several."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"fve": "fraction of variance explained", "ce_recovered": "cross-entropy recovered"}
    for axes, (name, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for group in groups:
            x, y = group.mean("l0"), group.mean(name)
            if x is not None and y is not None:
                axes.errorbar(x, y, xerr=group.sd("l0"), yerr=group.sd(name), fmt="o", capsize=3, label=group.label)
        axes.set(xlabel="l0 (active latents per token)", ylabel=title)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
