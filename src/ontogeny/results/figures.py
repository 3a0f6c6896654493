"""Figures: every declared view as PDF, SVG and PNG, drawn with matplotlib in one style; no display, no state left."""

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.config import nearest
from ontogeny.errors import ArtifactError, ConfigError
from ontogeny.results.layouts import compute_picture
from ontogeny.results.pictures import Axis, Curve, Picture
from ontogeny.results.reader import ResultReader
from ontogeny.results.style import DIVERGING, SEQUENTIAL, escape_controls, format_value, pick_colours
from ontogeny.workspace import disk_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
STYLE: Any = {  # matplotlib types the keys one by one
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,  # text stays text, which journals ask for
    "svg.fonttype": "none",
    "svg.hashsalt": "ontogeny",  # the same picture is the same file
    "text.parse_math": False,  # a dollar sign in a model's token is a dollar sign
}
# Files without a date, so that figures of equal results are equal.
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
MOST_LABELS = 12
LINE_CHARACTERS = 110


def save_figures(
    reader: ResultReader, folder: Path, formats: Sequence[str] = FORMATS, order: Sequence[str] = ()
) -> list[Path]:
    """Write every view of a result as `<kind>-<number>-<title>.<format>`; the files made.

    `order` is the order of the sources along an axis. ConfigError for an unknown format.
    """
    for each in formats:
        if each not in FORMATS:
            alike = nearest(each, FORMATS, 1) or list(FORMATS)
            raise ConfigError(f"there is no figure format {each!r}; give {' or '.join(alike)}.")
    made = []
    for number, view in enumerate(reader.views, start=1):
        with _house_style():
            figure = draw_picture(compute_picture(view, reader, order))
            for each in formats:
                path = folder / f"{reader.kind}-{number:02d}-{_slug(view.title)}.{each}"
                with disk_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    figure.savefig(path, dpi=200, metadata=UNDATED[each])
                made.append(path)
    return made


def draw_view(reader: ResultReader, title: str, order: Sequence[str] = ()) -> "Figure":
    """The view of this title as a matplotlib figure, for a notebook; ArtifactError names the nearest titles."""
    titles = [view.title for view in reader.views]
    if title not in titles:
        alike = nearest(title, titles) or titles
        raise ArtifactError(f"this {reader.kind} result has no view {title!r}; it has {', '.join(map(repr, alike))}.")
    with _house_style():
        return draw_picture(compute_picture(reader.views[titles.index(title)], reader, order))


@contextlib.contextmanager
def _house_style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(STYLE), warnings.catch_warnings():
        # A token in a script that the font lacks becomes a box; that is no fault of the run.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def draw_picture(picture: Picture) -> "Figure":
    """One figure; two panels, logarithmic and linear, where x is a time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    timed = picture.x.kind == "time" and picture.kind in ("line", "scatter")
    height = 0.24 * max(len(picture.lines), len(picture.rows), 8) + 0.8
    size = {"tokens": (9.0, height), "table": (10.0, height), "heatmap": (5.2, 4.4)}.get(picture.kind, (5.6, 3.6))
    figure = Figure(figsize=(9.6, 3.8) if timed else size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if timed else 1, squeeze=False, sharey=True)[0]
    for panel, log_time in zip(panels, (True, False)):
        _draw_panel(panel, picture, log_time)
    handles, labels = panels[-1].get_legend_handles_labels()
    if 1 < len(labels) <= MOST_LABELS or (labels and picture.kind != "heatmap" and len(labels) == 1):
        panels[-1].legend(handles, labels, loc="best")
    if not any(np.isfinite(curve.y).any() for curve in picture.curves) and picture.kind in (
        "line",
        "scatter",
        "histogram",
    ):
        panels[0].text(0.5, 0.5, "nothing to draw", transform=panels[0].transAxes, ha="center", color="#666666")
    figure.suptitle(escape_controls(picture.title), x=0.01, ha="left", fontsize=11)
    if picture.notes:
        figure.supxlabel("; ".join(picture.notes), x=0.01, ha="left", fontsize=7, color="#666666")
    return figure


def _draw_panel(axes: "Axes", picture: Picture, log_time: bool) -> None:
    if picture.kind == "tokens":
        return _draw_tokens(axes, picture)
    if picture.kind == "table":
        return _draw_table(axes, picture)
    if picture.kind == "heatmap":
        return _draw_cells(axes, picture)
    colours = pick_colours(len(picture.curves), picture.ordered)
    many = len(picture.curves) > MOST_LABELS
    if many and not picture.ordered:
        colours = ["#0072b2"] * len(picture.curves)
    pen = {"line": _draw_line, "scatter": _draw_points, "histogram": _draw_steps}[picture.kind]
    for curve, colour in zip(picture.curves, colours):
        pen(axes, curve, colour, many)
    _scale(axes, "x", picture.x, log_time)
    _scale(axes, "y", picture.y, log_time)
    return None


def _draw_line(axes: "Axes", curve: Curve, colour: str, many: bool) -> None:
    axes.plot(
        curve.x,
        curve.y,
        color=colour,
        marker="" if many else "o",
        linewidth=0.8 if many else 1.6,
        alpha=0.6 if many else 1.0,
        label=_legend(curve, many),
    )
    if curve.low is not None and curve.high is not None and not many:
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _draw_points(axes: "Axes", curve: Curve, colour: str, many: bool) -> None:
    few = len(curve.x) <= 60
    axes.scatter(
        curve.x,
        curve.y,
        s=22 if few else 10,
        color=colour,
        alpha=0.9 if few else 0.5,
        linewidths=0,
        label=_legend(curve, many),
        rasterized=True,
    )
    if curve.low is not None and curve.high is not None:
        axes.vlines(curve.x, curve.low, curve.high, color=colour, alpha=0.35, linewidth=0.8)


def _draw_steps(axes: "Axes", curve: Curve, colour: str, many: bool) -> None:
    if len(curve.x) > 1:
        axes.stairs(curve.y, curve.x, color=colour, fill=False, linewidth=1.4, label=_legend(curve, many))
        axes.stairs(curve.y, curve.x, color=colour, fill=True, alpha=0.06 if many else 0.15)


def _legend(curve: Curve, many: bool) -> str | None:
    return None if many or not curve.label else escape_controls(curve.label)


def _scale(axes: "Axes", side: str, axis: Axis, log_time: bool) -> None:
    """Label, scale and ticks of one side; time runs by log(1 + t), so that step 0 has a place."""
    words = escape_controls(axis.label)
    if axis.kind == "time" and log_time:
        getattr(axes, f"set_{side}scale")("function", functions=(np.log1p, np.expm1))
        low, high = getattr(axes, f"get_{side}lim")()
        ticks = [0.0, *(10.0**power for power in range(13))]
        kept = [tick for tick in ticks if low <= tick <= high]
        getattr(axes, f"set_{side}ticks")(kept, [f"{tick:,.0f}" if tick < 1e6 else f"{tick:.0e}" for tick in kept])
        words = f"{words}, log(1 + t)"
    elif axis.kind == "log":
        getattr(axes, f"set_{side}scale")("log")
        _write_plainly(getattr(axes, f"{side}axis"))
    elif axis.kind == "category":
        _name_places(axes, side, axis.ticks)
    getattr(axes, f"set_{side}label")(words)


def _write_plainly(axis: Any) -> None:
    """Numbers of a logarithmic axis without math text, which is off; those between powers only on a short axis."""
    low, high = axis.get_view_interval()
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    short = high < 30 * low
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if short and f"{value:e}"[0] in "25" else "")


def _name_places(axes: "Axes", side: str, names: Sequence[str]) -> None:
    """Names at places 0, 1, 2 …; of many only so many that they can be read."""
    shown = sorted({round(place) for place in np.linspace(0, len(names) - 1, min(len(names), 24))}) if names else []
    labels = [escape_controls(names[place])[:24] for place in shown]
    crowded = side == "x" and sum(map(len, labels)) > 40
    extra = {"rotation": 40, "ha": "right"} if crowded else {}
    getattr(axes, f"set_{side}ticks")(shown, labels, **extra)


def _draw_cells(axes: "Axes", picture: Picture) -> None:
    """A heat map; numbers of both signs on a scale with a middle, others on a sequential one."""
    from matplotlib.colors import LinearSegmentedColormap

    assert picture.cells is not None, "a heat map without cells"
    if not picture.cells.size:
        axes.set_axis_off()
        return
    low, high = picture.limits
    signed = low == -high
    colours = LinearSegmentedColormap.from_list("ontogeny", DIVERGING if signed else SEQUENTIAL)
    axes.set_facecolor("#e6e6e6")  # seen where a value is missing
    shown = np.ma.masked_invalid(picture.cells)
    image = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, origin="lower", aspect="auto", interpolation="none")
    axes.grid(False)
    _scale(axes, "x", picture.x, False)
    _scale(axes, "y", picture.y, False)
    axes.figure.colorbar(image, ax=axes, label=picture.curves[0].label)


def _draw_tokens(axes: "Axes", picture: Picture) -> None:
    """Lines of text, each token on a ground as strong as its share of the line's largest."""
    axes.set_axis_off()
    axes.set(xlim=(0, LINE_CHARACTERS + 22), ylim=(max(len(picture.lines), 8), -0.5))
    for row, line in enumerate(picture.lines):
        axes.text(0, row, escape_controls(line.label)[:20], fontsize=7, color="#666666", va="center")
        largest = np.nanmax(np.abs(line.strengths)) if np.isfinite(line.strengths).any() else 0.0
        place = 22
        for token, strength in zip(line.tokens, line.strengths):
            text = escape_controls(token)[: LINE_CHARACTERS + 22 - place]
            if not text:
                break
            share = abs(strength) / largest if largest > 0 and np.isfinite(strength) else 0.0
            many = len(line.tokens) > 1
            ground = {"facecolor": "#e69f00", "alpha": 0.75 * share, "pad": 0.6, "linewidth": 0} if many else None
            axes.text(place, row, text, fontsize=7, family="DejaVu Sans Mono", va="center", bbox=ground)
            place += len(text)


def _draw_table(axes: "Axes", picture: Picture) -> None:
    axes.set_axis_off()
    cells = [[_short(row[column.name]) for column in picture.columns] for row in picture.rows]
    if not cells:
        return
    headings = [column.name.replace("_", " ") for column in picture.columns]
    table = axes.table(cells, colLabels=headings, loc="upper left", cellLoc="left", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    table.auto_set_column_width(list(range(len(headings))))


def _short(value: Any) -> str:
    text = format_value(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
