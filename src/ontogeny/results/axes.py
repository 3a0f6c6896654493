"""What views share: a table's columns as numbers along an axis, groups of rows, intervals, and notes for the reader."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ontogeny.results.pictures import Axis, AxisKind, describe_column, order_names
from ontogeny.results.reader import ResultReader
from ontogeny.results.tables import View

TIME_COLUMNS = ("step", "tokens", "onset_step", "peak_step")
INTERVAL = 1.96  # standard errors on either side of an estimate: 95 % where it is normal


@dataclass
class Notes:
    """What a reader must know about a picture, in the order it was found."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)


def make_axis(reader: ResultReader, view: View, name: str, log: bool, ticks: tuple[str, ...] = ()) -> Axis:
    column = next(each for each in reader.columns(view.table) if each.name == name)
    kind: AxisKind = "category" if ticks else "time" if name in TIME_COLUMNS else "log" if log else "linear"
    return Axis(describe_column(column), kind, ticks)


def compute_numbers(data: pa.Table, name: str) -> np.ndarray:
    """A column as float64, null as NaN."""
    return np.asarray(data.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def is_text(data: pa.Table, name: str) -> bool:
    kind = data.schema.field(name).type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)


def compute_places(data: pa.Table, name: str, order: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values along an axis, and the names of places where the column is text."""
    if not is_text(data, name):
        return compute_numbers(data, name), ()
    words = ["" if word is None else str(word) for word in data.column(name).to_pylist()]
    ticks = order_names(words, order)
    place = {word: index for index, word in enumerate(ticks)}
    return np.array([place[word] for word in words], dtype=np.float64), tuple(ticks)


def group_rows(data: pa.Table, name: str | None, order: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Label and rows of each group; one group of everything without a column."""
    if name is None:
        return [("", np.arange(data.num_rows))]
    words = data.column(name).to_pylist()
    labels = ["" if word is None else f"{word:g}" if isinstance(word, float) else str(word) for word in words]
    distinct, codes = np.unique(np.array(labels, dtype=object), return_inverse=True)
    rows = dict(zip(distinct, np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])))
    return [(label, rows[label]) for label in order_names(labels, order)] if labels else []


def is_progression(name: str | None, labels: Sequence[str], order: Sequence[str]) -> bool:
    """Whether groups are moments of training (sources in order, steps), and so want sequential colours."""
    if name is None or len(labels) < 2:
        return False
    return name in ("source", "other", "probe", *TIME_COLUMNS) or (bool(order) and set(labels) <= set(order))


def compute_interval(data: pa.Table, view: View, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The ends of y's interval: `<y>_low` and `<y>_high` where they are there, else 1.96 standard errors."""
    known = data.schema.names
    if f"{name}_low" in known and f"{name}_high" in known:
        return compute_numbers(data, f"{name}_low"), compute_numbers(data, f"{name}_high")
    error = view.error if view.error is not None and name == view.y[0] else f"{name}_se"
    if error not in known:
        return None
    y, spread = compute_numbers(data, name), INTERVAL * compute_numbers(data, error)
    return y - spread, y + spread


def describe_ends(reader: ResultReader, view: View, name: str) -> str:
    """What bands and bars about y are, in the words of its columns: an interval, unless they say another range."""
    meanings = {column.name: column.meaning for column in reader.columns(view.table)}
    low, high = (meanings.get(f"{name}_{end}") for end in ("low", "high"))
    if low is None or high is None or "interval" in low:
        return "bands and bars are 95 % intervals"
    return f"bands and bars are no intervals of error, but from {low} to {high}"
