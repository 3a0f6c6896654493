"""A reader reads what is asked for, and nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest

from ontogeny.errors import ArtifactError
from ontogeny.results import Column, Result, Table, save_result
from ontogeny.results.reader import ResultReader

COLUMNS = (Column("latent", "1", "index"), Column("density", "fraction", "share of tokens"))


def save(folder: Path, latents: list[int], group: int = 4) -> ResultReader:
    data = pa.table({"latent": latents, "density": [float(latent) for latent in latents]})
    save_result(Result("statistics", (Table("latents", COLUMNS, data, ("latent",), row_group_rows=group),)), folder)
    return ResultReader(folder)


def test_rows_of_some_latents(tmp_path: Path) -> None:
    reader = save(tmp_path, [3, 1, 2, 1, 0])
    assert reader.read("latents", latents=[1, 3]).to_pylist() == [
        {"latent": 1, "density": 1.0},
        {"latent": 1, "density": 1.0},
        {"latent": 3, "density": 3.0},
    ]
    assert reader.read("latents", columns=["density"], latents=[2]).to_pylist() == [{"density": 2.0}]
    assert reader.read("latents", latents=[99]).num_rows == 0


def test_a_sample_is_spread_over_the_table(tmp_path: Path) -> None:
    reader = save(tmp_path, list(range(100)))
    kept = reader.sample("latents", 20).column("latent").to_pylist()
    assert len(kept) == 20 and kept[0] == 0 and kept[-1] == 99
    assert reader.sample("latents", 100).num_rows == 100


def test_the_head_and_the_batches(tmp_path: Path) -> None:
    reader = save(tmp_path, list(range(10)))
    assert [row["latent"] for row in reader.head("latents", 3)] == [0, 1, 2]
    assert sum(batch.num_rows for batch in reader.iter_batches("latents", 4)) == 10 == reader.n_rows("latents")


def test_an_empty_table(tmp_path: Path) -> None:
    data = pa.table({"latent": pa.array([], pa.int64()), "density": pa.array([], pa.float64())})
    save_result(Result("statistics", (Table("latents", COLUMNS, data),)), tmp_path)
    reader = ResultReader(tmp_path)
    assert reader.head("latents", 3) == [] and reader.sample("latents", 5).num_rows == 0
    assert not reader.is_per_latent("latents")


def test_one_row_a_latent(tmp_path: Path) -> None:
    assert save(tmp_path / "one", [0, 1, 2]).is_per_latent("latents")
    assert not save(tmp_path / "several", [0, 0, 1]).is_per_latent("latents")


def test_an_unknown_table_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="latents"):
        save(tmp_path, [0]).columns("latentz")
