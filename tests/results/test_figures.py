"""Every view becomes files that are what their endings say; equal results give equal files; hostile text is text."""

from pathlib import Path

import pyarrow as pa
import pytest

from ontogeny.errors import ConfigError
from ontogeny.results import Column, Result, Table, View, save_result
from ontogeny.results.figures import FORMATS, save_figures
from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.workspace import Workspace
from results.synthetic import ALERT

MAGIC = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}


def test_every_view_in_every_format(made_up: Workspace, tmp_path: Path) -> None:
    gathered = gather_results(made_up, "made-up")
    for artifact in gathered.results.values():
        reader = ResultReader(artifact.path)
        made = save_figures(reader, tmp_path, order=gathered.sources)
        assert len(made) == len(FORMATS) * len(reader.views)
        for path in made:
            assert path.read_bytes().startswith(MAGIC[path.suffix[1:]]), path.name
    assert ALERT not in "".join(path.read_text() for path in tmp_path.glob("*.svg"))


def test_a_figure_is_the_same_file_twice(made_up: Workspace, tmp_path: Path) -> None:
    reader = ResultReader(gather_results(made_up, "made-up").results["evolution"].path)
    for folder in ("a", "b"):
        save_figures(reader, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("kind", ["line", "scatter", "histogram", "heatmap", "table", "tokens"])
@pytest.mark.parametrize("rows", [[], [None], [1.0], [float("inf"), 1.0]], ids=["none", "null", "one", "infinite"])
def test_little_or_nothing_to_draw(kind: str, rows: list[float | None], tmp_path: Path) -> None:
    columns = tuple(Column(name, "1", name) for name in ("x", "y", "value", "text"))
    words = pa.array(["$\\alpha$ \u0000" for _ in rows], pa.string())
    data = pa.table({name: pa.array(rows, pa.float64()) for name in ("x", "y", "value")} | {"text": words})
    x = "text" if kind == "tokens" else "x"
    y = () if kind == "histogram" else ("y",)
    view = View(kind, "t", "$ % \u0000", x=x, y=y, value="value")  # type: ignore[arg-type]
    save_result(Result("made", (Table("t", columns, data),), (view,)), tmp_path)
    assert len(save_figures(ResultReader(tmp_path), tmp_path / "figures", ["png"])) == 1


def test_an_unknown_format_names_the_known(made_up: Workspace, tmp_path: Path) -> None:
    reader = ResultReader(gather_results(made_up, "made-up").results["evolution"].path)
    with pytest.raises(ConfigError, match="gif"):
        save_figures(reader, tmp_path, ["gif"])
