"""Planted lives through the whole analysis: classes, steps, directions, populations, seeds, hook points."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from analyses.evolution.inputs import LIVES, N_ACTIVE, STEPS, evolution, opened, planted, sources
from ontogeny.analyses.evolution import EVOLUTION, EvolutionConfig
from ontogeny.errors import AnalysisError
from ontogeny.latents.trajectories import CLASSES
from ontogeny.results import Result

NORMS = np.array(list(LIVES.values()), dtype=float)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return evolution(tmp_path_factory.mktemp("evolution"), planted(sources(), NORMS), sources())


def test_every_planted_life_is_told(found: Result) -> None:
    rows = found.table("latents").rows()
    assert [row["class"] for row in rows] == list(LIVES)
    assert [row["latent"] for row in rows] == list(range(len(LIVES)))
    classes = {row["class"]: row for row in found.table("classes").rows()}
    assert set(classes) == set(CLASSES) and {row["n"] for row in classes.values()} == {1}
    assert classes["emergent"]["share_low"] < 1 / 8 < classes["emergent"]["share_high"]


def test_steps_and_censoring(found: Result) -> None:
    rows = dict(zip(LIVES, found.table("latents").rows(), strict=True))
    emergent, transient = rows["emergent"], rows["transient"]
    assert (emergent["onset"], emergent["onset_step"], emergent["onset_after_step"]) == ("snapshot4", 15, 7)
    # 0 at step 7, half at step 15: half-risen there, where the axis is at 4.
    assert emergent["half_rise"] == pytest.approx(4.0, abs=1e-5)
    assert emergent["half_rise_step"] == pytest.approx(15.0, abs=1e-3)
    assert (emergent["peak_step"], emergent["vanish_step"], emergent["censored"]) == (31, None, "right")
    assert (transient["onset_step"], transient["vanish_step"], transient["censored"]) == (3, 63, "none")
    assert transient["lifetime"] == pytest.approx(4.0)
    assert rows["persistent"]["censored"] == "both" and rows["persistent"]["half_rise_step"] is None
    assert rows["discontinued"]["censored"] == "left"


def test_what_never_fires_has_no_life_and_no_made_up_numbers(found: Result) -> None:
    never = found.table("latents").rows()[-1]
    assert never["class"] == "never" and never["n_active"] == 3
    told = {name for name, value in never.items() if value is not None}
    assert told == {"latent", "hook_point", "class", "n_active", "n_sources", "n_live", "norm", "n_seeds"}
    rows = [row for row in found.table("trajectories").rows() if row["latent"] == 7]
    assert all(row["norm"] == pytest.approx(1) and row["share"] is None and not row["live"] for row in rows)
    assert 7 not in {row["latent"] for row in found.table("directions").rows()}


def test_no_table_holds_nan(found: Result) -> None:
    for table in found.tables:
        for name, column in zip(table.data.schema.names, table.data.columns, strict=True):
            if str(column.type) == "double":
                assert not np.isnan(column.drop_null().to_numpy()).any(), f"{table.name}.{name}"


def test_trajectories_are_the_norms(found: Result) -> None:
    rows = found.table("trajectories").rows()
    assert [(row["latent"], row["step"]) for row in rows] == [(j, s) for j in range(len(LIVES)) for s in STEPS]
    np.testing.assert_allclose([row["norm"] for row in rows], NORMS.ravel(), atol=1e-6)
    emergent = [row for row in rows if row["latent"] == 3]
    assert [row["live"] for row in emergent] == [False] * 4 + [True] * 6
    assert [row["share"] for row in emergent] == pytest.approx([norm / 1.2 for norm in LIVES["emergent"]])
    assert emergent[0]["cosine_previous"] is None and emergent[-1]["cosine_last"] == pytest.approx(1)


def test_the_planted_turn_is_where_most_turn(found: Result) -> None:
    rows = dict(zip(LIVES, found.table("latents").rows(), strict=True))
    persistent = rows["persistent"]
    assert (persistent["turning_point"], persistent["turning_step"]) == ("snapshot5", 31)
    assert abs(persistent["turning_cosine"]) < 0.1 and persistent["turning_explained"] > 0.95
    assert persistent["turning_p"] <= 0.05 and persistent["turning_p_random"] <= 0.02
    assert persistent["largest_rotation_source"] == "snapshot5"
    assert persistent["largest_rotation"] == pytest.approx(90, abs=6)
    rotation = {row["step"]: row for row in found.table("rotation").rows()}
    assert len(rotation) == len(STEPS) - 1
    assert rotation[31]["rotation"] > 80 and rotation[63]["rotation"] < 20
    similarity = {(row["source"], row["other"]): row for row in found.table("similarity").rows()}
    assert similarity["snapshot1", "snapshot2"]["cosine"] > 0.9
    assert abs(similarity["snapshot4", "snapshot5"]["cosine"]) < 0.1


def test_directions_are_a_whole_square(found: Result) -> None:
    rows = [row for row in found.table("directions").rows() if row["latent"] == 1]
    assert len(rows) == len(STEPS) ** 2
    cosine = {(row["source"], row["other"]): row["cosine"] for row in rows}
    assert cosine["snapshot2", "snapshot2"] == pytest.approx(1)
    assert cosine["snapshot2", "snapshot7"] == cosine["snapshot7", "snapshot2"]


def test_the_population_counts_only_what_fires(found: Result) -> None:
    rows = found.table("population").rows()
    assert rows[0] | {"live": 3, "born": None, "gone": None} == rows[0]
    assert sum(row["born"] for row in rows[1:]) == 4
    for before, after in itertools.pairwise(rows):
        assert after["live"] - before["live"] >= after["born"] - after["gone"]
    assert all(0 < row["dimensionality"] <= 1 for row in rows)
    dimensionality = [row["dimensionality"] for row in found.table("trajectories").rows() if row["step"] == 511]
    assert sum(value or 0 for value in dimensionality) / 12 == pytest.approx(rows[-1]["dimensionality"])


def test_one_seed_says_so(found: Result) -> None:
    assert {row["n_seeds"] for row in found.table("latents").rows()} == {1}
    assert all(row["norm_low"] is None and row["norm_high"] is None for row in found.table("latents").rows())
    assert any("n_seeds = 1" in sentence for sentence in found.summary["sentences"])


def test_other_seeds_give_intervals(tmp_path: Path) -> None:
    order = np.array([3, 1, 0, 2, 4, 5, 6, 7])
    other = planted(sources(), NORMS)
    other.W_dec.data = other.W_dec.data[order] * 1.5
    found = evolution(tmp_path, planted(sources(), NORMS), sources(), {"other": other}, seeds=("other",))
    rows = found.table("latents").rows()
    assert [row["n_seeds"] for row in rows] == [2] * 7 + [1]
    np.testing.assert_allclose([row["norm_high"] for row in rows[:7]], 1.5 * NORMS[:7].max(1), rtol=1e-5)
    np.testing.assert_allclose([row["norm_low"] for row in rows[:7]], NORMS[:7].max(1), rtol=1e-5)
    assert all(row["same_class"] == 1.0 for row in rows[:7])
    assert rows[3]["half_rise_step_low"] == pytest.approx(15, abs=1e-3)
    assert sum(row["n_matches"] for row in found.table("classes").rows()) == 7


def test_a_seed_of_another_series_is_refused(tmp_path: Path) -> None:
    fewer = sources(STEPS[:4])
    with pytest.raises(AnalysisError, match="snapshot4"):
        evolution(
            tmp_path,
            planted(sources(), NORMS),
            sources(),
            {"other": planted(fewer, NORMS[:, :4])},
            seeds=("other",),
        )


def test_a_dictionary_is_no_other_seed_of_itself(tmp_path: Path) -> None:
    same = planted(sources(), NORMS)
    with pytest.raises(AnalysisError, match="this very dictionary"):
        evolution(tmp_path, planted(sources(), NORMS), sources(), {"other": same}, seeds=("other",))


def test_every_hook_point_has_a_series(tmp_path: Path) -> None:
    of = sources(points=("resid_post.0", "resid_post.1"))
    norms = np.concatenate([NORMS, NORMS[[1, 0, 2, 3, 4, 5, 6, 7]]], axis=1)
    found = evolution(tmp_path, planted(of, norms), of)
    rows = found.table("latents").rows()
    assert [row["latent"] for row in rows] == [j for j in range(8) for _ in range(2)]
    by_point = {(row["latent"], row["hook_point"]): row["class"] for row in rows}
    assert by_point[0, "resid_post.0"] == "initialisation" and by_point[0, "resid_post.1"] == "persistent"
    assert len(found.table("trajectories").rows()) == 8 * 20
    assert len(found.table("population").rows()) == 20


def test_base_and_chat_are_a_series_of_two(tmp_path: Path) -> None:
    of = sources((None, None))
    norms = np.array([[1, 0.1], [0.1, 1], [1, 1.0]])
    found = evolution(tmp_path, planted(of, norms), of, n_active=np.array([99, 99, 99]))
    rows = found.table("latents").rows()
    assert [row["class"] for row in rows] == ["discontinued", "late-specific", "persistent"]
    assert all(row["onset_step"] is None and row["turning_point"] is None for row in rows)
    assert found.summary["time"] == "index"


def test_one_source_is_refused_before_the_pass(tmp_path: Path) -> None:
    of = sources((5,))
    dictionary = planted(of, np.ones((3, 1)))
    with pytest.raises(AnalysisError, match="two snapshots or more"):
        evolution(tmp_path, dictionary, of, n_active=np.array([9, 9, 9]))
    assert EVOLUTION.ride is not None
    with pytest.raises(AnalysisError, match="two snapshots or more"):
        EVOLUTION.ride(opened(tmp_path, dictionary, of), EvolutionConfig())


def test_latents_of_most_tokens_have_their_directions_kept(tmp_path: Path) -> None:
    busy = N_ACTIVE.copy()
    busy[[2, 4]] = 1000
    found = evolution(tmp_path, planted(sources(), NORMS), sources(), n_active=busy, direction_latents=2)
    assert {row["latent"] for row in found.table("directions").rows()} == {2, 4}
