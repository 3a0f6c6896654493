"""The numbers of a picture are the table's: order, intervals, bins, medians, and a note on all that is left out."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ontogeny.results import Column, Result, Table, View, save_result
from ontogeny.results.axes import INTERVAL
from ontogeny.results.layouts import MOST_CURVES, MOST_POINTS, compute_picture
from ontogeny.results.pictures import Picture, order_names
from ontogeny.results.reader import ResultReader


def picture_of(folder: Path, columns: dict[str, list[object]], view: View, order: tuple[str, ...] = ()) -> Picture:
    declared = tuple(Column(name, "nats" if name == "loss" else "1", name) for name in columns)
    save_result(Result("made", (Table("t", declared, pa.table(columns)),), (view,)), folder)
    return compute_picture(view, ResultReader(folder), order)


def test_names_are_ordered_by_what_is_known_then_by_their_numbers() -> None:
    assert order_names(["step16", "step2", "step0"]) == ["step0", "step2", "step16"]
    assert order_names(["chat", "base", "chat"]) == ["chat", "base"]
    assert order_names(["chat", "base"], ("base", "chat")) == ["base", "chat"]


def test_a_line_with_standard_errors(tmp_path: Path) -> None:
    columns = {"source": ["step8", "step0"], "loss": [1.0, 2.0], "loss_se": [0.1, None]}
    picture = picture_of(tmp_path, columns, View("line", "t", "Loss", x="source", y=("loss",)))
    assert picture.x.ticks == ("step0", "step8") and picture.y.label == "loss (nats)"
    (curve,) = picture.curves
    assert curve.y.tolist() == [2.0, 1.0]
    assert curve.low is not None and np.isnan(curve.low[0]) and curve.low[1] == 1.0 - INTERVAL * 0.1


def test_named_ends_stand_before_standard_errors(tmp_path: Path) -> None:
    columns = {"step": [0], "loss": [1.0], "loss_se": [0.1], "loss_low": [0.5], "loss_high": [3.0]}
    picture = picture_of(tmp_path, columns, View("line", "t", "Loss", x="step", y=("loss",), error="loss_se"))
    (curve,) = picture.curves
    assert picture.x.kind == "time"
    assert curve.low is not None and curve.high is not None and (curve.low[0], curve.high[0]) == (0.5, 3.0)


def test_the_note_says_what_bands_are_in_the_words_of_their_columns(tmp_path: Path) -> None:
    view = View("line", "t", "Norms", x="step", y=("norm",))
    seeds = {"low": "least norm of its matches in other seeds", "high": "largest norm of its matches"}
    ends = {"low": "lower end of its 95 % interval", "high": "upper end of its 95 % interval"}

    def notes(name: str, meanings: dict[str, str], low: float | None) -> tuple[str, ...]:
        values = {"step": [0], "norm": [1.0], "norm_low": [low], "norm_high": [low]}
        declared = tuple(Column(each, "1", meanings.get(each.removeprefix("norm_"), each)) for each in values)
        data = pa.table(values, schema=pa.schema([(each, pa.float64()) for each in values]))
        save_result(Result("made", (Table("t", declared, data),), (view,)), tmp_path / name)
        return compute_picture(view, ResultReader(tmp_path / name)).notes

    assert notes("ends", ends, 1.0) == ("bands and bars are 95 % intervals",)
    (told,) = notes("seeds", seeds, 1.0)
    assert "no intervals" in told and "other seeds" in told
    assert notes("one seed", seeds, None) == ()


def test_several_rows_a_place_become_their_median(tmp_path: Path) -> None:
    columns = {"step": [0] * 11 + [1], "loss": [*map(float, range(11)), None]}
    picture = picture_of(tmp_path, columns, View("line", "t", "Loss", x="step", y=("loss",)))
    (curve,) = picture.curves
    assert (curve.y[0], curve.low[0], curve.high[0]) == (5.0, 1.0, 9.0)  # type: ignore[index]
    assert np.isnan(curve.y[1]) and "median" in picture.notes[0] and len(picture.notes) == 1


def test_a_condition_leaves_the_rows_that_have_it_after_a_round_trip(tmp_path: Path) -> None:
    columns = {"step": [0, 0, 1, 1], "kind": ["a", "b", "a", "b"], "loss": [1.0, 2.0, 3.0, 4.0]}
    view = View("line", "t", "Loss", x="step", y=("loss",), where=(("kind", "b"),))
    picture = picture_of(tmp_path, columns, view)
    assert picture.curves[0].y.tolist() == [2.0, 4.0] and not picture.notes
    assert ResultReader(tmp_path).views == (view,)


def test_many_groups_and_points_are_thinned_and_it_is_said(tmp_path: Path) -> None:
    count = 4 * MOST_POINTS
    columns = {"latent": list(range(count)), "step": [0] * count, "loss": [1.0] * count}
    lines = picture_of(tmp_path / "a", columns, View("line", "t", "L", x="step", y=("loss",), group="latent"))
    assert len(lines.curves) == MOST_CURVES and f"{count:,}" in lines.notes[0]
    points = picture_of(tmp_path / "b", columns, View("scatter", "t", "L", x="latent", y=("loss",)))
    assert len(points.curves[0].x) == MOST_POINTS and points.notes


def test_sources_as_groups_are_a_progression(tmp_path: Path) -> None:
    columns = {"source": ["step8", "step0"], "step": [0, 1], "loss": [1.0, 2.0]}
    picture = picture_of(tmp_path, columns, View("line", "t", "Loss", x="step", y=("loss",), group="source"))
    assert picture.ordered and [curve.label for curve in picture.curves] == ["step0", "step8"]


def test_histograms_count_values_and_say_what_has_none(tmp_path: Path) -> None:
    values = [1, 1, 2, 4, None]
    picture = picture_of(tmp_path, {"n": values}, View("histogram", "t", "N", x="n"))
    (curve,) = picture.curves
    assert curve.x.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5] and curve.y.tolist() == [2, 1, 0, 1]
    assert "1 rows without" in picture.notes[0]


def test_a_table_that_is_a_histogram_already(tmp_path: Path) -> None:
    columns = {"lower": [0.0, 1.0, None], "count": [3, 4, 9]}
    picture = picture_of(tmp_path, columns, View("histogram", "t", "N", x="lower", y=("count",)))
    assert picture.curves[0].x.tolist() == [0, 1, 2] and picture.curves[0].y.tolist() == [3, 4]


def test_logarithmic_bins_leave_out_zero(tmp_path: Path) -> None:
    view = View("histogram", "t", "N", x="density", log_x=True)
    picture = picture_of(tmp_path, {"density": [0.0, 0.001, 0.1]}, view)
    assert picture.curves[0].x[0] == 0.001 and picture.curves[0].y.sum() == 2


def test_a_heat_map_has_its_sources_in_order_and_means_in_its_cells(tmp_path: Path) -> None:
    columns = {
        "source": ["step8", "step0", "step0"],
        "other": ["step0", "step0", "step0"],
        "cosine": [0.5, 1.0, 0.0],
    }
    view = View("heatmap", "t", "C", x="source", y=("other",), value="cosine")
    picture = picture_of(tmp_path, columns, view, ("step0", "step8"))
    assert picture.cells is not None and picture.cells.tolist() == [[0.5, 0.5]]
    assert picture.x.ticks == ("step0", "step8") and picture.notes == ("several rows a cell: their mean",)


def test_tokens_show_every_group(tmp_path: Path) -> None:
    columns = {
        "latent": [0] * 50 + [7],
        "tokens": [["a", "b"]] * 51,
        "values": [[0.0, None]] * 50 + [[1.0, 2.0]],
    }
    view = View("tokens", "t", "T", x="tokens", group="latent", value="values")
    picture = picture_of(tmp_path, columns, view)
    assert {line.label for line in picture.lines} == {"latent 0", "latent 7"} and "of 51 rows" in picture.notes[0]
    assert np.isnan(picture.lines[0].strengths[1])
