"""From a declared view and a result on disk to a picture: grouping, binning, thinning, intervals, and notes on each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ontogeny.results.axes import (
    Notes,
    compute_interval,
    compute_numbers,
    compute_places,
    describe_ends,
    group_rows,
    is_progression,
    is_text,
    make_axis,
)
from ontogeny.results.pictures import Axis, Curve, Picture, TextLine, describe_column, order_names
from ontogeny.results.reader import LATENT, ResultReader
from ontogeny.results.tables import View

MEDIANS = "several rows a place: the median, and the band that holds the middle 80 %"
MOST_ROWS = 1_000_000
MOST_POINTS = 3_000
MOST_CURVES = 40
MOST_LINES = 24
MOST_CELLS = 256
BINS = 40


def compute_picture(view: View, reader: ResultReader, order: Sequence[str] = ()) -> Picture:
    """Lay out a view's numbers; `order` is the order of names (sources) along a category axis, where it is known."""
    notes = Notes()
    if view.kind == "table":
        return _table_picture(view, reader, notes)
    if view.kind == "tokens":
        return _token_picture(view, reader, notes)
    names = [name for name in reader.column_names(view.table) if name in _needed(view, reader)]
    data = reader.sample(view.table, MOST_ROWS, names)
    if data.num_rows < reader.n_rows(view.table):
        notes.add(f"of a sample of {data.num_rows:,} out of {reader.n_rows(view.table):,} rows")
    for column, value in view.where:
        data = data.filter(pc.equal(data.column(column), value))
    if view.kind == "heatmap":
        return _heatmap_picture(view, reader, data, order, notes)
    if view.kind == "histogram":
        return _histogram_picture(view, reader, data, order, notes)
    return _curve_picture(view, reader, data, order, notes)


def _needed(view: View, reader: ResultReader) -> set[str]:
    """The view's columns, and those that hold the uncertainty of its y under the usual names."""
    ends = {f"{name}_{end}" for name in view.y for end in ("se", "low", "high")}
    return view.column_names() | (ends & set(reader.column_names(view.table)))


def _curve_picture(view: View, reader: ResultReader, data: pa.Table, order: Sequence[str], notes: Notes) -> Picture:
    assert view.x is not None and view.y, f"view {view.title!r} needs x and y"
    x, ticks = compute_places(data, view.x, order)
    groups = group_rows(data, view.group, order)
    if view.kind == "line" and len(groups) > MOST_CURVES:
        notes.add(f"{MOST_CURVES} of {len(groups):,} lines, evenly chosen")
        groups = [groups[index] for index in np.linspace(0, len(groups) - 1, MOST_CURVES).astype(int)]
    curves: list[Curve] = []
    for name in view.y:
        y, ends = compute_numbers(data, name), compute_interval(data, view, name)
        for label, rows in groups:
            parts = [part for part in (label, name.replace("_", " ") if len(view.y) > 1 else "") if part]
            whole = Curve(
                ", ".join(parts), x[rows], y[rows], *((ends[0][rows], ends[1][rows]) if ends else (None, None))
            )
            curves.append(_line(whole, notes) if view.kind == "line" else _thin(whole, len(groups), notes))
        if ends is not None and np.isfinite(ends[0]).any() and MEDIANS not in notes.lines:
            notes.add(describe_ends(reader, view, name))
    labels = [label for label, _ in groups]
    y_axis = make_axis(reader, view, view.y[0], view.log_y)
    if len(view.y) > 1:
        units = {column.unit for column in reader.columns(view.table) if column.name in view.y} - {"1"}
        y_axis = Axis(", ".join(sorted(units)), y_axis.kind)
    return Picture(
        view.kind,
        view.title,
        make_axis(reader, view, view.x, view.log_x, ticks),
        y_axis,
        tuple(curves),
        ordered=len(view.y) == 1 and is_progression(view.group, labels, order),
        notes=tuple(notes.lines),
    )


def _line(curve: Curve, notes: Notes) -> Curve:
    """A curve in order of x; several rows at one x become their median, with the band that holds the middle 80 %."""
    by_x = np.argsort(curve.x, kind="stable")
    by_x = by_x[np.isfinite(curve.x[by_x])]
    x, y = curve.x[by_x], curve.y[by_x]
    distinct, start = np.unique(x, return_index=True)
    if len(distinct) == len(x):
        low, high = (None if end is None else end[by_x] for end in (curve.low, curve.high))
        return Curve(curve.label, x, y, low, high)
    notes.add(MEDIANS)
    parts = [part[np.isfinite(part)] for part in np.split(y, start[1:])]
    low, middle, high = (
        np.array([np.quantile(part, q) if len(part) else np.nan for part in parts]) for q in (0.1, 0.5, 0.9)
    )
    return Curve(curve.label, distinct, middle, low, high)


def _thin(curve: Curve, n_groups: int, notes: Notes) -> Curve:
    """The points of a scatter: those that have both numbers, and not more than an eye can tell apart."""
    kept = np.flatnonzero(np.isfinite(curve.x) & np.isfinite(curve.y))
    most = max(MOST_POINTS // n_groups, 50)
    if len(kept) > most:
        notes.add(f"about {MOST_POINTS:,} of the points, drawn at random")
        kept = np.sort(np.random.default_rng(0).choice(kept, most, replace=False))
    low, high = (None if end is None or len(kept) > 200 else end[kept] for end in (curve.low, curve.high))
    return Curve(curve.label, curve.x[kept], curve.y[kept], low, high)


def _histogram_picture(view: View, reader: ResultReader, data: pa.Table, order: Sequence[str], notes: Notes) -> Picture:
    """Counts of x's values in equal bins; with y, the table is a histogram already: x left edges, y counts."""
    assert view.x is not None, f"view {view.title!r} needs x"
    values, ticks = compute_places(data, view.x, order)
    groups = group_rows(data, view.group, order)
    if len(groups) > MOST_CURVES:
        notes.add(f"{MOST_CURVES} of {len(groups):,} groups, evenly chosen")
        groups = [groups[index] for index in np.linspace(0, len(groups) - 1, MOST_CURVES).astype(int)]
    edges = _edges(values, bool(ticks), view.log_x, view.kind == "histogram" and not view.y)
    curves = []
    for label, rows in groups:
        if view.y:
            placed = rows[np.isfinite(values[rows])]
            left, inverse = np.unique(values[placed], return_inverse=True)
            weights = np.nan_to_num(compute_numbers(data, view.y[0])[placed])
            counts = np.bincount(inverse, weights=weights, minlength=len(left))
            width = np.diff(left).min() if len(left) > 1 else 1.0
            x = np.append(left, left[-1] + width) if len(left) else np.zeros(0)
            if len(placed) < len(rows):
                notes.add("rows without a bin are left out")
        else:
            finite = values[rows][np.isfinite(values[rows])]
            counts, x = np.histogram(finite, edges)
            if len(finite) < len(rows):
                notes.add(f"{len(rows) - len(finite):,} rows without a value are left out")
        curves.append(Curve(label, x, counts.astype(np.float64)))
    y = make_axis(reader, view, view.y[0], view.log_y) if view.y else Axis("rows", "log" if view.log_y else "linear")
    # The bins of names lie around the names' places.
    x_axis = make_axis(reader, view, view.x, view.log_x, ticks)
    labels = [label for label, _ in groups]
    return Picture(
        "histogram",
        view.title,
        x_axis if ticks or x_axis.kind != "time" else Axis(x_axis.label),
        y,
        tuple(curves),
        ordered=is_progression(view.group, labels, order),
        notes=tuple(notes.lines),
    )


def _edges(values: np.ndarray, named: bool, log: bool, wanted: bool) -> np.ndarray:
    """Edges of equal bins over all groups together: one a value where these are few whole numbers."""
    finite = values[np.isfinite(values)]
    if log:
        finite = finite[finite > 0]
    if not wanted or not len(finite):
        return np.array([0.0, 1.0])
    low, high = float(finite.min()), float(finite.max())
    if named or (high - low <= BINS and bool((finite == np.round(finite)).all())):
        return np.arange(low, high + 2) - 0.5
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    return np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)


def _heatmap_picture(view: View, reader: ResultReader, data: pa.Table, order: Sequence[str], notes: Notes) -> Picture:
    """Cells [y x] of `value`; several rows a cell become their mean, so that a picture of many latents is one map."""
    assert view.x is not None and view.y and view.value is not None, f"view {view.title!r} needs x, y and value"
    sides = []
    for name in (view.x, view.y[0]):
        words = ["" if word is None else str(word) for word in data.column(name).to_pylist()]
        names = order_names(words, order) if is_text(data, name) else sorted({*words} - {""}, key=float)
        if len(names) > MOST_CELLS:
            notes.add(f"{MOST_CELLS} of {len(names):,} values of {name}, evenly chosen")
            names = [names[index] for index in np.linspace(0, len(names) - 1, MOST_CELLS).astype(int)]
        place = {word: index for index, word in enumerate(names)}
        sides.append((names, np.array([place.get(word, -1) for word in words], dtype=np.int64)))
    (columns, x), (rows, y) = sides
    value = compute_numbers(data, view.value)
    kept = (x >= 0) & (y >= 0) & np.isfinite(value)
    cell = y[kept] * len(columns) + x[kept]
    counts = np.bincount(cell, minlength=len(rows) * len(columns))
    sums = np.bincount(cell, weights=value[kept], minlength=len(rows) * len(columns))
    if counts.max(initial=0) > 1:
        notes.add("several rows a cell: their mean")
    cells = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).reshape(len(rows), len(columns))
    limits = _limits(cells, notes)
    label = describe_column(next(each for each in reader.columns(view.table) if each.name == view.value))
    return Picture(
        "heatmap",
        view.title,
        make_axis(reader, view, view.x, False, tuple(columns)),
        make_axis(reader, view, view.y[0], False, tuple(rows)),
        (Curve(label, np.zeros(0), np.zeros(0)),),
        cells=cells,
        limits=limits,
        notes=tuple(notes.lines),
    )


def _limits(cells: np.ndarray, notes: Notes) -> tuple[float, float]:
    """Where the colours of cells end: from 0 to the largest, or as far below 0 as above it where both signs occur.

    A few cells far beyond the others do not make these all one colour: colours then end at the 98th percentile.
    """
    finite = cells[np.isfinite(cells)]
    if not len(finite):
        return 0.0, 1.0
    size = np.abs(finite)
    reach, usual = float(size.max()), float(np.quantile(size, 0.98))
    if 0 < 2 * usual < reach:
        notes.add(f"colours end at {usual:.3g}, which 2 % of the cells lie beyond")
        reach = usual
    if finite.min() < 0 < finite.max():
        return -reach, reach
    return (-reach, 0.0) if finite.max() <= 0 and finite.min() < 0 else (0.0, reach or 1.0)


def _token_picture(view: View, reader: ResultReader, notes: Notes) -> Picture:
    """Lines of text: `x` is a text, or a list of tokens with `value` a list of as many strengths."""
    assert view.x is not None, f"view {view.title!r} needs x"
    n_rows = reader.n_rows(view.table)
    rows = reader.head(view.table, 20_000 if view.group else MOST_LINES)
    if view.group is not None:
        # Every group shows: the first rows of each in turn.
        by_group: dict[Any, list[dict[str, Any]]] = {}
        for row in rows:
            by_group.setdefault(row[view.group], []).append(row)
        each = max(MOST_LINES // max(len(by_group), 1), 1)
        rows = [row for group in list(by_group.values())[:MOST_LINES] for row in group[:each]]
    if len(rows) < n_rows:
        notes.add(f"{len(rows):,} of {n_rows:,} rows")
    lines = []
    for row in rows:
        text, value = row[view.x], row[view.value] if view.value is not None else None
        tokens = tuple(text) if isinstance(text, list) else (str(text),)
        given = value if isinstance(value, list) else [value] * len(tokens)
        strengths = tuple(float("nan") if strength is None else float(strength) for strength in given)
        parts = [str(row[view.group])] if view.group is not None and view.group != LATENT else []
        parts += [f"{LATENT} {row[LATENT]}"] if LATENT in row else []
        label = ", ".join(parts)
        lines.append(TextLine(label, tokens, strengths))
    return Picture("tokens", view.title, Axis(""), Axis(""), lines=tuple(lines), notes=tuple(notes.lines))


def _table_picture(view: View, reader: ResultReader, notes: Notes) -> Picture:
    wanted = [name for name in (view.x, view.group, *view.y, view.value, view.error) if name is not None]
    columns = tuple(each for each in reader.columns(view.table) if not wanted or each.name in wanted)
    rows = reader.head(view.table, MOST_LINES)
    if len(rows) < reader.n_rows(view.table):
        notes.add(f"the first {len(rows):,} of {reader.n_rows(view.table):,} rows")
    kept = tuple({column.name: row[column.name] for column in columns} for row in rows)
    return Picture("table", view.title, Axis(""), Axis(""), columns=columns, rows=kept, notes=tuple(notes.lines))
