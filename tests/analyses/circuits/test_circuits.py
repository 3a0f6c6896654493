"""Circuits as an analysis: tables against the engine, sums that must add up, resuming, controls, bad input."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from analyses.tiny_behaviours import saved, write_pairs
from analyses.tiny_circuits import circuit_inputs, full_names, rename
from interventions.tiny_edges import END, START, make_plan
from interventions.tiny_prompts import NAMES, tiny_dictionary
from interventions.tiny_series import HOOK_POINT
from ontogeny.analyses import ANALYSES, AnalysisInputs
from ontogeny.analyses.circuits import CircuitsConfig
from ontogeny.analyses.circuits.judge import PARTS, effective_number, hold_most, judge_edges
from ontogeny.analyses.circuits.pruning import choose_sizes, rank_edges, take_first
from ontogeny.analyses.circuits.tracing import trace_behaviours
from ontogeny.analyses.circuits.wiring import make_wiring
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError, OntogenyError
from ontogeny.interventions.edges import EdgePlan
from ontogeny.results import Result
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours
from ontogeny.types import HookPoint, Source

RUN = ANALYSES["circuits"].run
POINTS = [str(START), str(END)]


def make_config(*behaviours: Any, **settings: Any) -> CircuitsConfig:
    small = {"draws": 20, "flips": 200, "verify": 5, "batch": 7, "min_clusters": 4, "nodes": 5, "steps": 2}
    given = {**small, "control_seeds": 2, "upstream": "first", "hook_points": POINTS, **settings}
    return CircuitsConfig(behaviours=list(behaviours), **given)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnalysisInputs, CircuitsConfig, Result]:
    folder = tmp_path_factory.mktemp("circuits")
    inputs = circuit_inputs(folder)
    config = make_config(write_pairs(folder / "first.jsonl"))
    return inputs, config, saved(RUN(inputs, config), folder / "result")


def test_edges_are_those_of_the_engine(found: tuple[AnalysisInputs, CircuitsConfig, Result]) -> None:
    inputs, config, result = found
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)["first"]
    models = [inputs.series.open(index) for index in range(2)]
    plans = [
        make_plan(models, each, pairs, point, batch=24)
        for each, point in ((inputs.others["first"], START), (inputs.dictionary, END))
    ]
    for each in plans:
        each.rule, each.steps = "mid", 2
    frame = result.table("nodes").to_pandas()
    chosen = [np.array(sorted(set(frame[frame.side == side].latent))) for side in ("upstream", "downstream")]
    assert [len(each) for each in chosen] == [5, 5]
    plan = EdgePlan(*plans, *chosen)
    edges = result.table("edges").to_pandas()
    for source, name in enumerate(NAMES):
        expected = plan.compute(models[source], source, source)
        means = expected.effects.mean(axis=0)
        mine = edges[edges.snapshot == name]
        assert len(mine) >= 10 and (mine.n == 24).all() and (mine.n_clusters <= 12).all()
        for row in mine.itertuples():
            at = int(np.searchsorted(chosen[0], row.upstream)), int(np.searchsorted(chosen[1], row.downstream))
            assert row.effect == pytest.approx(means[at], abs=1e-5)
            assert row.effect_low <= row.effect_high and row.edge == f"{row.upstream} → {row.downstream}"
            assert row.n_prompts == (expected.effects[:, at[0], at[1]] != 0).sum()
        for row in frame[(frame.snapshot == name) & (frame.side == "downstream")].itertuples():
            place = int(np.searchsorted(chosen[1], row.latent))
            assert row.effect == pytest.approx(expected.nodes[:, place].mean(), abs=1e-5)
            assert row.by_edges == pytest.approx(means[:-2, place].sum(), abs=1e-5)
            assert row.by_edges + row.by_others + row.by_error + row.rest == pytest.approx(row.effect, abs=1e-9)
        for row in frame[(frame.snapshot == name) & (frame.side == "upstream")].itertuples():
            place = int(np.searchsorted(chosen[0], row.latent))
            assert row.by_edges + row.rest == pytest.approx(expected.through[:, place].mean(), abs=1e-5)


def test_parts_add_up_to_what_the_metric_changes(found: tuple[AnalysisInputs, CircuitsConfig, Result]) -> None:
    _, _, result = found
    parts = result.table("parts").to_pandas()
    for row in result.table("assembly").rows():
        mine = parts[parts.snapshot == row["snapshot"]]
        assert mine.part.tolist() == list(PARTS)
        assert mine.effect.sum() == pytest.approx(row["change"], abs=1e-9)
        assert mine.effect.iloc[0] == pytest.approx(row["edges_effect"], abs=1e-9)
    nodes = result.table("nodes").to_pandas()
    down = nodes[nodes.side == "downstream"].groupby("snapshot").by_edges.sum()
    up = nodes[nodes.side == "upstream"].groupby("snapshot").by_edges.sum()
    assert np.allclose(down, up)


def test_curves_begin_and_end_where_they_must(found: tuple[AnalysisInputs, CircuitsConfig, Result]) -> None:
    _, _, result = found
    curves = result.table("curves").to_pandas()
    for (snapshot, ranking), mine in curves.groupby(["snapshot", "ranking"]):
        prune, keep, ablate = (
            mine[mine["mode"] == mode].sort_values("n_edges") for mode in ("prune", "keep", "ablate")
        )
        sizes = prune.n_edges.tolist()
        assert sizes[0] == 0 and sizes == sorted(sizes) and (prune.n == 12).all()
        # Nothing moved, all traced edges moved: whatever the order of edges.
        assert prune.metric.iloc[-1] == pytest.approx(ablate.metric.iloc[0], abs=1e-5), (snapshot, ranking)
        assert prune.metric.iloc[0] == pytest.approx(ablate.metric.iloc[-1], abs=1e-5)
        if prune.share.notna().all():
            assert prune.share.iloc[0] == pytest.approx(0, abs=1e-5)
            assert prune.share.iloc[-1] == pytest.approx(1, abs=1e-5)
        if keep.share.notna().all():
            assert keep.share.iloc[0] == pytest.approx(0, abs=1e-5)
            assert ablate.share.iloc[0] == pytest.approx(1, abs=1e-5)
    row = result.table("assembly").rows()[-1]
    last = curves[(curves.snapshot == "step8") & (curves["mode"] == "ablate") & (curves.ranking == "effect")]
    if row["reach"] is not None:
        assert row["reach"] == pytest.approx(1 - last.sort_values("n_edges").share.iloc[-1])


def test_assembly_says_how_much_of_the_last_circuit_is_there(
    found: tuple[AnalysisInputs, CircuitsConfig, Result],
) -> None:
    _, _, result = found
    rows = result.table("assembly").rows()
    edges = result.table("edges").to_pandas()
    for row in rows:
        mine = edges[edges.snapshot == row["snapshot"]]
        assert row["n_circuit"] == mine.in_circuit.sum() <= row["n_significant"] <= row["n_edges"] <= 25
    if rows[-1]["n_circuit"]:
        assert rows[-1]["jaccard_last"] == 1
    assert rows[-1]["overlap_last"] == pytest.approx(1) and rows[0]["jaccard_before"] is None
    text = result.summary["sentences"]
    assert text and all("first" in each for each in text)
    poor = [row for row in result.table("verification").rows() if row["poor"]]
    assert result.summary["n_poor"] == len(poor)
    assert [each.startswith("Poor") for each in text] == [True] * bool(poor) + [False]
    assert all(f"{row['snapshot']} (" in text[0] for row in poor)


def test_every_finished_snapshot_is_taken_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = circuit_inputs(tmp_path)
    config = make_config(write_pairs(tmp_path / "first.jsonl", 8), write_pairs(tmp_path / "second.jsonl", 8, seed=1))
    opened: list[int] = []
    original = SnapshotSeries.open

    def dies(self: SnapshotSeries, index: int, **given: Any) -> Any:
        opened.append(index)
        if len(opened) in (4, 7):
            raise KeyboardInterrupt
        return original(self, index, **given)

    monkeypatch.setattr(SnapshotSeries, "open", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            RUN(inputs, config)
    first = RUN(inputs, config)
    assert opened == [0, 1, 0, 1, 1, 0, 1, 1, 0, 1], "twice for activations, once for nodes, once for edges"
    again = RUN(inputs, config)
    assert len(opened) == 10
    for name in ("verification", "assembly", "edges", "nodes", "parts", "curves"):
        assert first.table(name).rows() == again.table(name).rows()


def both_ends(folder: Path) -> AnalysisInputs:
    """One dictionary whose sources are both snapshots at both hook points."""
    inputs = circuit_inputs(folder, (START, END))
    made = tiny_dictionary(5, "topk")
    config = made.config
    names = tuple(source.name for source in inputs.held_out.sources)
    wide = Crosscoder(config, names, d_model=made.d_model).eval()
    return dataclasses.replace(inputs, maybe_dictionary=wide)


def test_one_dictionary_may_lie_at_both_hook_points(tmp_path: Path) -> None:
    inputs = both_ends(tmp_path)
    for points in (None, POINTS):
        config = make_config(write_pairs(tmp_path / "first.jsonl", 8), upstream=None, hook_points=points, verify=0)
        wiring = make_wiring(inputs, config)
        assert wiring.is_one and [(wire.start, wire.end) for wire in wiring.wires] == [(0, 1), (2, 3)]
    result = RUN(inputs, config)
    assert len(result.table("assembly").rows()) == 2 and len(result.table("edges").rows()) > 0


def test_without_other_names_hook_points_are_read_off_the_sources(tmp_path: Path) -> None:
    inputs = circuit_inputs(tmp_path)
    rename(inputs.others["first"], full_names()[::-1])
    given = write_pairs(tmp_path / "first.jsonl", 8)
    wiring = make_wiring(inputs, make_config(given, hook_points=None))
    assert wiring.points == (START, END)
    assert [(wire.start, wire.end) for wire in wiring.wires] == [(1, 0), (0, 1)]


@pytest.mark.parametrize("settings", [{"baseline": "mean"}, {"baseline": "zero"}, {"nodes": 1}, {"positions": [-1]}])
def test_other_settings_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    inputs = circuit_inputs(tmp_path, gate="per_source")
    result = RUN(inputs, make_config(write_pairs(tmp_path / "first.jsonl", 8), **settings))
    assert len(result.table("assembly").rows()) == 2


def test_one_snapshot_has_a_circuit_of_its_own_evidence(tmp_path: Path) -> None:
    """With one source all evidence is its own: both ways to read are the same."""
    inputs = circuit_inputs(tmp_path)
    alone = [
        Crosscoder(tiny_dictionary(seed, "topk").config, NAMES[1:], d_model=inputs.dictionary.d_model).eval()
        for seed in (3, 5)
    ]
    inputs = dataclasses.replace(inputs, maybe_dictionary=alone[1], others={"first": alone[0]})
    inputs.held_out.sources = inputs.held_out.sources[1:]
    given = write_pairs(tmp_path / "first.jsonl", 12)
    own, whole = (RUN(inputs, make_config(given, evidence=evidence)) for evidence in ("own", "whole"))
    assert [row["snapshot"] for row in own.table("assembly").rows()] == ["step8"]
    pairs = zip(own.table("edges").rows(), whole.table("edges").rows(), strict=True)
    assert all(one["effect"] == pytest.approx(other["effect"], abs=1e-6) for one, other in pairs)


def test_one_cluster_has_no_errors_and_no_circuit(tmp_path: Path) -> None:
    inputs = circuit_inputs(tmp_path)
    result = saved(RUN(inputs, make_config(write_pairs(tmp_path / "first.jsonl", 2))), tmp_path / "result")
    assert {row["effect_se"] for row in result.table("edges").rows()} <= {None}
    assert "no edge counts in step8" in result.summary["sentences"][-1]


def test_shuffled_answers_seldom_find_an_edge(tmp_path: Path) -> None:
    inputs = circuit_inputs(tmp_path)
    hits = 0
    for seed in range(6):
        given = write_pairs(tmp_path / f"s{seed}.jsonl", 24, seed=seed, swap=True)
        config = make_config(given, steps=1, rule="left", verify=0, control_seeds=1, seed=seed)
        pairs = tokenize_behaviours([given], config.policy, inputs.series.tokenizer)
        circuits = trace_behaviours(inputs, config, make_wiring(inputs, config), pairs)[given.label]
        hits += bool(judge_edges(circuits, config).significant.any())
    assert hits <= 2


def test_bad_input_is_named(tmp_path: Path) -> None:
    inputs = circuit_inputs(tmp_path)
    given = write_pairs(tmp_path / "first.jsonl", 6)

    def refused(match: str, use: AnalysisInputs = inputs, **settings: Any) -> None:
        with pytest.raises(OntogenyError, match=match):
            RUN(use, make_config(given, **settings))

    refused(r"lies at resid_post\.1; name the dictionary that edges begin in", upstream=None, hook_points=None)
    refused("is not in its sources' names", hook_points=None)
    refused(r"edges cannot run from resid_post\.1 to resid_post\.1", hook_points=[str(END), str(END)])
    refused(r"names resid_post\.0; the dictionary has resid_post\.1", hook_points=[str(START), "resid_post.0"])
    refused("hook point 'middle'", hook_points=["middle", str(END)])
    named = dataclasses.replace(inputs, others={"first": rename(tiny_dictionary(3, "topk"), full_names(HOOK_POINT))})
    refused(r"names resid_pre\.1; dictionary 'first' has resid_post\.0", named)
    other = dataclasses.replace(inputs, others={"first": rename(tiny_dictionary(3, "topk"), ("step0", "step9"))})
    refused(r"has snapshot 'step9', which this series lacks \(it has step0, step8\)", other)
    config = tiny_dictionary(3, "topk").config
    fewer = dataclasses.replace(inputs, others={"first": Crosscoder(config, NAMES[:1], d_model=16).eval()})
    refused(r"the dictionary at resid_pre\.1 lacks step8", fewer)
    narrow = dataclasses.replace(inputs, others={"first": Crosscoder(config, NAMES, d_model=8).eval()})
    refused("is of width 8, these snapshots of 16", narrow)
    with pytest.raises(ValidationError, match="takes two hook points"):
        make_config(given, hook_points=[str(END)])
    three = circuit_inputs(tmp_path / "three", (HookPoint.parse("resid_pre.0"), START, END))
    assert isinstance(three.held_out.sources[0], Source)
    with pytest.raises(AnalysisError, match="or two of these as"):
        wide = Crosscoder(config, tuple(each.name for each in three.held_out.sources), d_model=16)
        make_wiring(
            dataclasses.replace(three, maybe_dictionary=wide), make_config(given, upstream=None, hook_points=None)
        )


def test_circuits_nest_and_controls_leave_out_what_moves_nothing() -> None:
    draw = np.random.default_rng(0)
    weights = draw.random((6, 7)) * (draw.random((6, 7)) < 0.8)
    strength = draw.random((6, 7)) * (weights > 0)
    sizes = choose_sizes(int((weights > 0).sum()))
    assert sizes[0] == 0 and sizes[1] == 1 and sizes[-1] == (weights > 0).sum()
    for ranking in ("effect", "random", "matched"):
        circuits = rank_edges(ranking, strength, weights, sizes, 3)  # type: ignore[arg-type]
        assert [int(each.sum()) for each in circuits] == sizes.tolist()
        assert all((one <= other).all() for one, other in pairwise(circuits))
        assert not any((each & (weights == 0)).any() for each in circuits)
    best = rank_edges("effect", strength, weights, np.array([4]), 0)[0]
    assert {tuple(each) for each in take_first(strength, 4).tolist()} == {tuple(each) for each in np.argwhere(best)}
    heavy = rank_edges("matched", weights, weights, np.array([8]), 1)[0]
    light = rank_edges("random", weights, weights, np.array([8]), 1)[0]
    assert weights[heavy].mean() > weights[light].mean()
    assert choose_sizes(0).tolist() == [0] and choose_sizes(1).tolist() == [0, 1]
    assert take_first(np.zeros((3, 2)), 4).shape == (0, 2)


def test_what_is_significant_but_next_to_nothing_is_in_no_circuit(
    found: tuple[AnalysisInputs, CircuitsConfig, Result], tmp_path: Path
) -> None:
    inputs, config, _ = found
    strict = config.model_copy(update={"least": 50.0})
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    fresh = dataclasses.replace(inputs, scratch=tmp_path)
    circuits = trace_behaviours(fresh, config, make_wiring(inputs, config), pairs)["first"]
    loose, tight = (judge_edges(circuits, each) for each in (config.model_copy(update={"least": 0.0}), strict))
    assert (tight.significant == loose.significant).all() and not tight.circuit.any()
    assert (loose.circuit.sum(axis=0) > 0).tolist() == loose.significant.any(axis=0).tolist()


def test_the_fewest_edges_that_hold_most() -> None:
    size = np.array([[5.0, 0.0], [3.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert hold_most(size, 0.8)[:, 0].tolist() == [True, True, False, False]
    assert hold_most(size, 0.81)[:, 0].tolist() == [True, True, True, False]
    assert not hold_most(size, 0.8)[:, 1].any()
    assert effective_number(np.ones(5)) == pytest.approx(5) and effective_number(np.array([2.0, 0])) == pytest.approx(1)
    assert np.isnan(effective_number(np.zeros(3)))
