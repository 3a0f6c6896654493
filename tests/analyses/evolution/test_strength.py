"""Lives read off what two real models predict where latents fire."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analyses.tiny_run import tiny_inputs
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.evolution import EVOLUTION, EvolutionConfig
from ontogeny.analyses.evolution.activity import Activity
from ontogeny.analyses.evolution.strength import measure_strength
from ontogeny.results import Result, load_result, save_result

CONFIG = EvolutionConfig(strength="prediction", min_active=1, sure=0.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> AnalysisInputs:
    given = tiny_inputs(tmp_path_factory.mktemp("strength"))
    given.corpus.held_out[:8] = False  # the bigram is counted on training rows
    assert given.codes is not None
    return replace(given, accumulated=Activity(np.asarray(given.codes.counts)))


@pytest.fixture(scope="module")
def found(inputs: AnalysisInputs, tmp_path_factory: pytest.TempPathFactory) -> Result:
    place: Path = tmp_path_factory.mktemp("result") / "result"
    save_result(EVOLUTION.run(inputs, CONFIG), place)
    return load_result(place)


def test_the_strength_is_what_is_surely_gained_on_the_bigram(inputs: AnalysisInputs) -> None:
    loose, strict = (measure_strength(inputs, CONFIG.model_copy(update={"sure": sure})) for sure in (0.0, 3.0))
    assert loose.se is not None and loose.kept is not None and strict.se is not None
    assert loose.value.min() >= 0 and loose.value.max() <= 1
    sure = loose.value > 3 * np.nan_to_num(strict.se, nan=np.inf)
    np.testing.assert_array_equal(strict.value, np.where(sure, loose.value, 0))
    known = ~np.isnan(loose.kept[:, -1])
    np.testing.assert_allclose(loose.kept[known, -1], 1.0)
    assert known.sum() > 20
    assert (loose.value[0] == 0).all() and np.isnan(loose.se[0]).all()


def test_tables_carry_strength_error_and_what_is_kept(inputs: AnalysisInputs, found: Result) -> None:
    strength = measure_strength(inputs, CONFIG)
    assert strength.se is not None and strength.kept is not None
    rows = found.table("trajectories").rows()
    for row in rows[2:8]:
        place = (row["latent"], ["step0", "step8"].index(row["source"]))
        assert row["strength"] == pytest.approx(strength.value[place])
        assert row["strength_se"] == pytest.approx(strength.se[place])
        assert row["kept"] == pytest.approx(strength.kept[place])
    dead = [row for row in rows if row["latent"] == 0]
    assert all(row["strength"] == 0 and row["strength_se"] is None and row["kept"] is None for row in dead)
    for row in found.table("latents").rows():
        lived = [each["kept"] for each in rows if each["latent"] == row["latent"] and each["live"]]
        assert row["least_kept"] == (pytest.approx(min(lived)) if lived else None)


def test_the_summary_says_what_lives_are_read_off(found: Result) -> None:
    assert found.summary["strength"] == "prediction"
    assert "beyond the bigram" in found.summary["sentences"][-1]


def test_norms_have_neither_error_nor_kept(inputs: AnalysisInputs) -> None:
    result = EVOLUTION.run(inputs, EvolutionConfig(min_active=1))
    row = next(iter(result.table("latents").rows()))
    assert row["least_kept"] is None
