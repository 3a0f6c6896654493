"""Pictures: a declared view with its numbers laid out, ready for any pen. Figures and reports draw the same ones."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ontogeny.results.tables import Column, ViewKind

AxisKind = Literal["linear", "log", "time", "category"]


@dataclass(frozen=True)
class Axis:
    """What an axis says and how it runs; `ticks` are the names of places 0, 1, 2 … where it is a category.

    `time` is a training step or a count of tokens, shown both by log(1 + t) and linearly.
    """

    label: str
    kind: AxisKind = "linear"
    ticks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Points [n] of one line or colour, NaN where a value is missing, with the ends of 95 % intervals where known."""

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class TextLine:
    """A line of text with a strength a token, NaN where there is none."""

    label: str
    tokens: tuple[str, ...]
    strengths: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    """A view with its numbers.

    `curves` belong to line, scatter and histogram (x is the left edge of a bin, the last one is the right edge of all),
    `lines` to tokens, `rows` to table, `cells` [y x] to heatmap, with the `limits` of their colours, equal on both
    sides of 0 where cells have a sign. `ordered`: the curves are steps of one progression and want sequential colours.
    `notes` say what was left out or added up.
    """

    kind: ViewKind
    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    cells: np.ndarray | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    lines: tuple[TextLine, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    ordered: bool = False
    notes: tuple[str, ...] = ()


def describe_column(column: Column) -> str:
    """A column's name as an axis says it: `norm (nats)`; the unit 1 is not named."""
    name = column.name.replace("_", " ")
    return name if column.unit == "1" else f"{name} ({column.unit})"


def order_names(names: Sequence[str], order: Sequence[str] = ()) -> list[str]:
    """Distinct names in a known order, else by the number in them (step2 before step16), else as they come."""
    distinct = list(dict.fromkeys(names))
    known = {name: place for place, name in enumerate(order)}
    if distinct and all(name in known for name in distinct):
        return sorted(distinct, key=known.__getitem__)
    parts = [re.fullmatch(r"(\D*)(\d+)(\D*)", name) for name in distinct]
    if distinct and all(parts) and len({(part[1], part[3]) for part in parts if part}) == 1:
        return sorted(distinct, key=lambda name: int(re.sub(r"\D", "", name)))
    return distinct
