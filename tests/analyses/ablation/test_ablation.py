"""Ablation as an analysis: tables against sets measured by hand, halves, controls, resuming, bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analyses.tiny_behaviours import saved, tiny_inputs, write_pairs
from interventions.tiny_prompts import N_LATENTS, NAMES, tiny_plan
from interventions.tiny_series import D_MODEL
from ontogeny.analyses import ANALYSES, AnalysisInputs
from ontogeny.analyses.ablation import AblationConfig
from ontogeny.analyses.ablation.controls import NEAREST, draw_control
from ontogeny.analyses.ablation.measure import Ablation
from ontogeny.config import config_identity
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.interventions.ablate import measure_nested
from ontogeny.interventions.effect_batches import iter_halves
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours

RUN = ANALYSES["ablation"].run


def make_config(*behaviours: Any, **settings: Any) -> AblationConfig:
    given = {"draws": 20, "batch": 40, "steps": 2, "control_seeds": 2, "singles": 3, **settings}
    return AblationConfig(behaviours=list(behaviours), **given)


def test_tables_hold_what_sets_measured_by_hand_do(inputs: AnalysisInputs, tmp_path: Path) -> None:
    chosen = [3, 17, 5, 11]
    config = make_config(
        write_pairs(tmp_path / "first.jsonl"),
        rankings=[],
        given=[{"name": "mine", "latents": chosen}],
        errors=["kept", "moved"],
        batch=7,
    )
    result = saved(RUN(inputs, config), tmp_path / "result")
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)["first"]
    plan = tiny_plan(inputs.series, inputs.dictionary, pairs)
    choosing, measured = iter_halves(pairs.cluster, config.seed)
    assert not set(pairs.cluster[choosing]) & set(pairs.cluster[measured])
    member = np.isin(np.arange(len(pairs)), measured)
    for source, name in enumerate(NAMES):
        model = inputs.series.open(source)
        for mode, table in (("ablate", "ablated"), ("keep", "kept")):
            for error in ("kept", "moved"):
                expected = measure_nested(
                    plan,
                    model,
                    source,
                    np.array(chosen),
                    [1, 2, 4],
                    mode=mode,  # type: ignore[arg-type]
                    error=error,  # type: ignore[arg-type]
                    wanted=member,
                )
                rows = [
                    row
                    for row in result.table(table).rows()
                    if (row["source"], row["ranking"], row["error"]) == (name, "mine", error)
                ]
                assert [row["count"] for row in rows] == [1, 2, 4]
                assert np.allclose([row["difference"] for row in rows], -expected.mean(axis=0), atol=1e-4)
                assert np.allclose([row["accuracy"] for row in rows], (expected < 0).mean(axis=0))
                for row in rows:
                    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
                    assert (row["n"], row["n_clusters"], row["control"], row["n_seeds"]) == (12, 6, False, 1)
    reference = {(row["source"], row["state"]): row for row in result.table("reference").rows()}
    whole = plan.compute_source(inputs.series.open(1), 1)
    assert reference["step8", "untouched"]["difference"] == pytest.approx(-whole.start[member].mean(), abs=1e-4)
    assert reference["step8", "everything"]["difference"] == pytest.approx(-whole.end[member].mean(), abs=1e-4)


def test_all_latents_ablated_are_complete_and_all_kept_are_faithful(inputs: AnalysisInputs, tmp_path: Path) -> None:
    result = RUN(inputs, make_config(write_pairs(tmp_path / "first.jsonl", 40), errors=["kept", "moved"]))
    seen = 0
    for table, share in (("ablated", "completeness"), ("kept", "faithfulness")):
        frame = result.table(table).to_pandas()
        last = frame[frame["count"] == frame.groupby("ranking")["count"].transform("max")]
        known = last[last.ranking.isin(["supporting", "effect", "relie", "norm", "random"])]
        values = known[share].dropna()
        assert np.allclose(values, 1, atol=1e-3)
        seen += len(values)
        controls = frame[frame.control]
        assert (controls.n_seeds == 2).all() and controls.seed_sd.notna().all()
    assert seen, "some share is known"


@pytest.mark.parametrize("method", ["atp", "ig"])
def test_a_ranking_is_made_on_one_half_alone(inputs: AnalysisInputs, tmp_path: Path, method: str) -> None:
    rankings = ["supporting", "effect", "exact"]
    config = make_config(write_pairs(tmp_path / "first.jsonl"), rankings=rankings, controls=[], method=method)
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    given = Ablation(inputs, config, pairs).run()["first"]
    way: Any = {"rule": "left", "steps": 1} if method == "atp" else {"rule": "mid", "steps": 2}
    plan = tiny_plan(inputs.series, inputs.dictionary, pairs["first"], **way)
    choosing = ~given.measured
    for source in range(2):
        effects = plan.gather([plan.compute_source(inputs.series.open(source), source)])
        means = effects.weighted_sums(choosing / choosing.sum())[:, 0]
        assert np.allclose(given.scores.effect[:, source], means, atol=1e-5)
        exact = plan.compute_exact(inputs.series.open(source), source, effects.active)[choosing].mean(axis=0)
        orders = {order.name: order.latents for order in given.sources[source].orders if order.seed is None}
        assert orders["supporting"].tolist() == effects.active[np.argsort(-means, kind="stable")].tolist()
        ranked = np.abs(exact)[np.searchsorted(effects.active, orders["exact"])]
        assert (np.diff(ranked) <= 1e-5).all()


def test_matched_latents_are_others_that_are_as_long(inputs: AnalysisInputs, tmp_path: Path) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl"), counts=[1, 2, 4])
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    given = Ablation(inputs, config, pairs).run()["first"]
    for found in given.sources:
        first = found.orders[0].latents[:4]
        matched = [order for order in found.orders if order.name.endswith("_matched")]
        assert len(matched) == 4
        for order in matched:
            assert len(order.latents) == 4 == len(set(order.latents.tolist()))
            assert (order.latents != first).all()
        assert {order.seed for order in found.orders if order.name == "random"} == {0, 1}


@given(seed=st.integers(0, 99), n=st.integers(1, 60))
def test_a_matched_latent_is_one_of_the_nearest(seed: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    latents, values = np.sort(draw.choice(200, n, replace=False)), draw.random(n)
    reference = draw.permutation(latents)
    drawn = draw_control("norm_matched", reference, latents, values, n, seed)
    assert len(drawn) >= n - 1 and len(set(drawn.tolist())) == len(drawn) and set(drawn) <= set(latents)
    assert (drawn != reference[: len(drawn)]).all()
    rank = {int(latent): int(place) for place, latent in enumerate(latents[np.argsort(values)])}
    assert all(abs(rank[int(one)] - rank[int(own)]) <= NEAREST for one, own in list(zip(drawn, reference))[:1])
    assert (draw_control("norm_matched", reference, latents, values, n, seed) == drawn).all()


def test_rankings_from_files_are_read_for_their_behaviour_and_source(inputs: AnalysisInputs, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("latent,source,score\n4,step0,1\n5,step0,-3\n6,step0,\n7,step4,2\n")
    given = [{"name": "mine", "path": str(file), "column": "score"}]
    config = make_config(write_pairs(tmp_path / "first.jsonl"), given=given, counts=[1, 2])
    ranked = [row for row in RUN(inputs, config).table("ranked").rows() if row["ranking"] == "mine"]
    assert [(row["source"], row["rank"], row["latent"]) for row in ranked] == [
        ("step0", 0, 5),
        ("step0", 1, 4),
    ], "the file says nothing of step8"
    assert ANALYSES["ablation"].reads is not None and file in ANALYSES["ablation"].reads(config)


def test_single_ablations_are_exact_and_agreement_is_theirs(inputs: AnalysisInputs, tmp_path: Path) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl"), singles=5)
    result = RUN(inputs, config)
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)["first"]
    plan = tiny_plan(inputs.series, inputs.dictionary, pairs)
    member = np.isin(np.arange(len(pairs)), list(iter_halves(pairs.cluster, config.seed))[1])
    frame = result.table("singles").to_pandas()
    for source, name in enumerate(NAMES):
        mine = frame[frame.source == name].sort_values("latent")
        exact = plan.compute_exact(inputs.series.open(source), source, mine.latent.to_numpy())[member]
        assert np.allclose(mine.ablated, exact.mean(axis=0), atol=1e-5)
    assert np.allclose(frame.groupby("latent").norm_share.sum(), 1)
    rows = result.table("agreement").rows()
    assert [(row["earlier"], row["later"], row["predictor"]) for row in rows] == [
        ("step0", "step8", "share"),
        ("step0", "step8", "norm_share"),
    ]


def test_every_finished_snapshot_is_taken_from_scratch(
    inputs: AnalysisInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl", 8), counts=[1, 3])
    opened: list[int] = []
    original = SnapshotSeries.open

    def dies(self: SnapshotSeries, index: int, **given: Any) -> Any:
        opened.append(index)
        if len(opened) == 6:
            raise KeyboardInterrupt
        return original(self, index, **given)

    monkeypatch.setattr(SnapshotSeries, "open", dies)
    with pytest.raises(KeyboardInterrupt):
        RUN(inputs, config)
    first = RUN(inputs, config)
    assert opened == [0, 1, 0, 1, 0, 1, 1], "activations, effects, sets; the one that died again"
    again = RUN(inputs, config)
    assert len(opened) == 7
    for table in first.tables:
        assert table.rows() == again.table(table.name).rows()


def test_one_cluster_on_a_side_gives_numbers_without_intervals(inputs: AnalysisInputs, tmp_path: Path) -> None:
    result = RUN(inputs, make_config(write_pairs(tmp_path / "first.jsonl", 4), singles=0))
    for row in result.table("ablated").rows():
        assert row["n_clusters"] == 1 and row["difference"] is not None
        assert row["difference_low"] is None and row["completeness"] is None
    assert not result.table("singles").rows()


def test_bad_input_is_named(inputs: AnalysisInputs, tmp_path: Path) -> None:
    given = write_pairs(tmp_path / "first.jsonl", 6)
    with pytest.raises(AnalysisError, match="latent 24; this dictionary has 24"):
        RUN(inputs, make_config(given, given=[{"name": "mine", "latents": [N_LATENTS]}]))
    with pytest.raises(AnalysisError, match="all pairs in one cluster"):
        RUN(inputs, make_config(write_pairs(tmp_path / "alone.jsonl", 2)))
    with pytest.raises(AnalysisError, match=r"analyses\.ablation\.hook_points names 'resid_post\.1'"):
        RUN(inputs, make_config(given, hook_points=["resid_post.1"]))
    file = tmp_path / "mine.csv"
    mine = [{"name": "mine", "path": str(file), "column": "effct"}]
    with pytest.raises(AnalysisError, match="there is no file"):
        RUN(inputs, make_config(given, given=mine))
    file.write_text("latent,effect\n1,2\n")
    with pytest.raises(AnalysisError, match="no column 'effct' to rank by; it has effect"):
        RUN(inputs, make_config(given, given=mine))
    file.write_text("latent,effct\n1,a\n")
    with pytest.raises(AnalysisError, match="must be numbers"):
        RUN(inputs, make_config(given, given=mine))
    for wrong, words in (
        ({"given": [{"name": "effect", "latents": [1]}]}, "two rankings are called 'effect'"),
        ({"given": [{"name": "mine"}]}, "needs either 'latents', or 'path' and 'column'"),
        ({"rankings": []}, "no ranking is named"),
        ({"counts": [0]}, "from 1 on"),
    ):
        with pytest.raises(ValueError, match=words):
            make_config(given, **wrong)  # type: ignore[arg-type]


def test_a_given_list_enters_the_identity(tmp_path: Path) -> None:
    given = write_pairs(tmp_path / "first.jsonl", 6)
    one, other = (make_config(given, given=[{"name": "mine", "latents": [latent]}]) for latent in (1, 2))
    assert config_identity(one) != config_identity(other)


def test_one_source_and_one_answer_leave_what_needs_more_empty(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = CrosscoderConfig.model_validate({"n_latents": N_LATENTS, "activation": {"kind": "relu"}, "aux_k": None})
    alone = Crosscoder(shape, NAMES[1:], d_model=D_MODEL).eval()
    inputs = tiny_inputs(tmp_path, alone)
    file = tmp_path / "open.jsonl"
    file.write_text("\n".join(f'{{"clean_prefix": "w{i} w3 w4 w5", "right": " w1"}}' for i in range(6, 18)))
    config = make_config({"kind": "jsonl", "path": str(file)}, counts=[1, 99], singles=4)
    result = saved(RUN(inputs, config), tmp_path / "result")
    assert not result.table("agreement").rows() and result.summary["median_rho"]["share"] is None
    rows = result.table("ablated").rows()
    assert {row["source"] for row in rows} == {"step8"} and {row["count"] for row in rows} == {1}
    assert all(row["accuracy"] is None and row["difference"] < 0 for row in rows)
    assert all(row["accuracy_change"] is None for row in result.table("singles").rows())
    assert {row["baseline"] for row in result.table("reference").rows()} == {"mean"}
