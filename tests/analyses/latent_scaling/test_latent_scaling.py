import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from analyses.planted import (
    DECOUPLED,
    FIRST_ONLY,
    ONLY,
    SHARED,
    SHRUNK,
    TURNED,
    WRITER,
    answer,
    planted_inputs,
)
from ontogeny.analyses.latent_scaling import LATENT_SCALING, LatentScalingConfig
from ontogeny.errors import AnalysisError
from ontogeny.results import Result

Rows = dict[tuple[int, str], dict[str, Any]]


def rows_of(result: Result, probe: str | None = None) -> Rows:
    rows = result.table("scaling").rows()
    return {(row["latent"], row["source"]): row for row in rows if probe is None or row["probe"] == probe}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("scaling")
    return answer(LATENT_SCALING, planted_inputs(folder), LatentScalingConfig(probe="chat"), folder / "result")


def test_what_the_decoders_hide_is_found(result: Result) -> None:
    rows = rows_of(result)
    said = {latent: rows[latent, "base"]["verdict_scaling"] for latent in range(1, 7)}
    assert said == {
        SHARED: "present",
        ONLY: "absent",
        SHRUNK: "present",
        DECOUPLED: "absent",
        WRITER: "present",
        TURNED: "turned",
    }
    norms = {latent: rows[latent, "base"]["verdict_norm"] for latent in range(1, 7)}
    assert [latent for latent, verdict in norms.items() if verdict == "absent"] == [ONLY, SHRUNK, DECOUPLED]
    shrunk, decoupled, only = (rows[latent, "base"] for latent in (SHRUNK, DECOUPLED, ONLY))
    assert shrunk["complete_shrinkage"] and not shrunk["survives"]
    assert shrunk["nu_error"] == pytest.approx(1, abs=0.05) and shrunk["relative_norm"] == pytest.approx(0.05)
    assert decoupled["latent_decoupling"] and not decoupled["survives"] and not decoupled["complete_shrinkage"]
    assert decoupled["nu_reconstruction"] > 0.7
    assert only["survives"] and not only["complete_shrinkage"] and not only["latent_decoupling"]
    assert only["nu_error"] == pytest.approx(0, abs=0.1)
    turned = rows[TURNED, "base"]
    assert abs(turned["nu_error"]) < 0.1 and turned["nu_own"] == pytest.approx(1, abs=0.05)


def test_orientation_is_one_for_the_newer(result: Result) -> None:
    rows = rows_of(result)
    assert rows[ONLY, "base"]["delta_norm"] > 0.9
    assert rows[SHARED, "base"]["delta_norm"] == pytest.approx(0.5)
    assert rows[FIRST_ONLY, "base"]["delta_norm"] < 0.1


def test_every_number_has_its_error_and_dead_latents_have_nulls(result: Result) -> None:
    rows = rows_of(result)
    dead = rows[0, "base"]
    assert dead["n_active"] == 0
    missing = (
        "beta_error",
        "beta_error_se",
        "nu_error",
        "nu_error_se",
        "nu_reconstruction",
        "verdict_scaling",
        "nu_own",
    )
    assert all(dead[name] is None for name in missing)
    assert dead["complete_shrinkage"] is None and dead["survives"] is None
    for latent in range(1, 7):
        for name in ("beta_activation", "beta_reconstruction", "beta_error", "nu_error", "nu_reconstruction", "nu_own"):
            row = rows[latent, "base"]
            assert row[name] is not None and 0 <= row[f"{name}_se"] < 1, (latent, name)
    for table in result.tables:
        for column in table.to_pandas().select_dtypes("number"):
            values = table.data.column(column).drop_null().to_numpy()  # type: ignore[union-attr]
            assert np.isfinite(values).all(), f"{table.name}.{column}"


def test_pairs_and_latents_count_the_verdicts(result: Result) -> None:
    (pair,) = result.table("pairs").rows()
    assert (pair["source"], pair["other"]) == ("chat", "base")
    assert pair["n"] == 6  # neither the dead one nor the one that is not in the chat model
    assert (pair["absent_by_norm"], pair["complete_shrinkage"], pair["latent_decoupling"]) == (3, 1, 1)
    assert pair["survives"] == 1 and pair["turned"] == 1
    assert pair["shrinkage_share"] == pytest.approx(1 / 3)
    latents = {row["latent"]: row for row in result.table("latents").rows()}
    assert latents[SHRUNK]["first_by_norm"] == "chat" and latents[SHRUNK]["first_by_scaling"] == "base"
    assert latents[0]["present_by_scaling"] is None and latents[0]["first_by_scaling"] is None
    assert result.summary["present_earlier_by_scaling"] == 1


def test_controls_look_along_other_directions(result: Result) -> None:
    controls = result.table("controls").rows()
    assert {row["control"] for row in controls} == {"random direction", "other latent"}
    random = [row for row in controls if row["control"] == "random direction"]
    assert all(row["n"] == 6 and abs(row["nu_error_median"]) < 0.4 for row in random)


def test_the_peak_is_the_default_probe_and_all_probes_hold_it(tmp_path: Path) -> None:
    names = ("base", "middle", "chat")
    inputs = planted_inputs(tmp_path, names)
    peak = rows_of(answer(LATENT_SCALING, inputs, LatentScalingConfig(), tmp_path / "peak"))
    every = answer(LATENT_SCALING, inputs, LatentScalingConfig(probe="all"), tmp_path / "all")
    assert every.table("scaling").data.num_rows == 8 * 3 * 3  # type: ignore[union-attr]
    keys = [(row["latent"], row["probe"], row["source"]) for row in every.table("scaling").rows()]
    assert keys == sorted(keys, key=lambda key: (key[0], names.index(key[1]), names.index(key[2])))
    for (latent, source), row in peak.items():
        same = rows_of(every, row["probe"])[latent, source]
        for name in ("beta_error", "nu_error_se", "nu_own"):
            assert same[name] == (None if row[name] is None else pytest.approx(row[name], rel=1e-9))
    pairs = {(row["source"], row["other"]) for row in every.table("pairs").rows()}
    assert len(pairs) == 6


def test_blocks_of_latents_over_the_cached_codes_give_the_same(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path)
    whole = answer(LATENT_SCALING, inputs, LatentScalingConfig(control_latents=0), tmp_path / "whole")
    config = LatentScalingConfig(control_latents=0, memory_gb=1e-5)
    parts = answer(LATENT_SCALING, inputs, config, tmp_path / "parts")
    assert whole.table("controls").rows() == []
    for name in ("scaling", "pairs", "latents"):
        for mine, other in zip(parts.table(name).rows(), whole.table(name).rows(), strict=True):
            numbers = {key: value for key, value in other.items() if isinstance(value, float)}
            assert {key: mine[key] for key in numbers} == pytest.approx(numbers, rel=1e-6, abs=1e-9)
            assert {**mine, **numbers} == other
    assert not (tmp_path / "scratch" / "estimates.arrow").exists()


def test_the_table_streams(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path)
    answer(LATENT_SCALING, inputs, LatentScalingConfig(), tmp_path / "result")
    file = pq.ParquetFile(tmp_path / "result" / "tables" / "scaling.parquet")
    assert file.metadata.num_rows == 16
    assert file.schema_arrow.field("nu_error").metadata[b"unit"] == b"1"


def test_what_is_lacking_is_named(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path)
    assert LATENT_SCALING.ride is not None
    with pytest.raises(AnalysisError, match="is no source of this dictionary; take peak, all, or one of base, chat"):
        LATENT_SCALING.ride(inputs, LatentScalingConfig(probe="instruct"))
    single = dataclasses.replace(inputs, maybe_dictionary=planted_inputs(tmp_path / "one", ("only",)).dictionary)
    with pytest.raises(AnalysisError, match="has one \\(only\\)"):
        LATENT_SCALING.ride(single, LatentScalingConfig())
