"""Indirect effects as an analysis: tables against the engine, checks, resuming, what a shuffle finds, bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.tiny_behaviours import WORDS, saved, tiny_inputs, write_pairs
from interventions.tiny_prompts import (
    N_LATENTS,
    NAMES,
    attribute,
    read_all,
    tiny_dictionary,
    tiny_pairs,
    tiny_plan,
)
from ontogeny.analyses import ANALYSES, AnalysisInputs
from ontogeny.analyses.indirect_effects import IndirectEffectsConfig
from ontogeny.analyses.indirect_effects.attribution import attribute_behaviours
from ontogeny.analyses.indirect_effects.groups import iter_groups
from ontogeny.analyses.indirect_effects.holding import compute_held
from ontogeny.analyses.indirect_effects.judge import judge_effects
from ontogeny.errors import AnalysisError, CorpusError, OntogenyError
from ontogeny.interventions.effect_batches import moving_positions
from ontogeny.interventions.prompts import clean_prompts
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours
from ontogeny.tokens.pairs.config import BehaviourConfig, PairPolicy
from ontogeny.tokens.vocabulary import closed_tokenizer

RUN = ANALYSES["indirect_effects"].run


def make_config(*behaviours: Any, **settings: Any) -> IndirectEffectsConfig:
    given = {"draws": 20, "flips": 200, "verify": 6, "batch": 7, "min_clusters": 4, **settings}
    return IndirectEffectsConfig(behaviours=list(behaviours), **given)


def test_tables_hold_what_the_engine_gives(inputs: AnalysisInputs, tmp_path: Path) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl"), steps=2, rule="mid")
    result = saved(RUN(inputs, config), tmp_path / "result")
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)["first"]
    plan = tiny_plan(inputs.series, inputs.dictionary, pairs, rule="mid", steps=2)
    expected = attribute(inputs.series, plan)
    means = expected.weighted_sums(np.full(len(pairs), 1 / len(pairs)))
    frame = result.table("effects").to_pandas()
    assert sorted(frame.latent.unique()) == expected.active.tolist()
    for source, name in enumerate(NAMES):
        mine = frame[frame.source == name].sort_values("latent")
        assert np.allclose(mine.effect, means[:, source], atol=1e-5)
        assert (mine.n == 24).all() and (mine.n_clusters <= 12).all()
        totals = next(row for row in result.table("totals").rows() if row["source"] == name)
        assert totals["error_effect"] == pytest.approx(expected.error[:, source].mean(), abs=1e-5)
        assert totals["change"] == pytest.approx(expected.total[:, source].mean(), abs=1e-5)
        check = next(row for row in result.table("verification").rows() if row["source"] == name)
        assert check["completeness_gap"] == pytest.approx(expected.completeness_gap()[source], abs=1e-4)
        assert check["n_candidates"] == 6 and check["n"] == 12 and check["baseline"] == "pair"
        assert check["poor"] == (check["r"] < 0.9 or not 0.5 <= check["slope"] <= 2 or check["completeness_gap"] > 0.2)
    shares = result.table("shares").to_pandas()
    if len(shares):
        assert np.allclose(shares.groupby(["latent"]).share.sum().round(9), 1)
        assert np.allclose(shares.groupby(["latent"]).norm_share.sum(), 1)


@pytest.mark.parametrize("settings", [{"method": "exact"}, {"path": "single"}], ids=["exact", "single"])
def test_patching_one_by_one_verifies_itself(inputs: AnalysisInputs, tmp_path: Path, settings: dict[str, Any]) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl", 12), verify=N_LATENTS, **settings)
    result = saved(RUN(inputs, config), tmp_path / "result")
    for row in result.table("verification").rows():
        assert row["r"] == pytest.approx(1) and row["slope"] == pytest.approx(1) and not row["poor"]
        assert row["completeness_gap"] is None
    assert result.summary["n_poor"] == 0


def test_poor_estimates_are_one_line_at_the_top(inputs: AnalysisInputs, tmp_path: Path) -> None:
    """One gradient leaves a gap, and slopes that are asked to be next to 1 are not."""
    given = [write_pairs(tmp_path / f"{name}.jsonl", seed=seed) for seed, name in enumerate(("first", "second"))]
    result = RUN(inputs, make_config(*given, method="atp", sound_slopes=(0.999, 1.001)))
    rows = result.table("verification").rows()
    poor = [row for row in rows if row["poor"]]
    assert len(poor) == result.summary["n_poor"] == 4
    top, *rest = result.summary["sentences"]
    assert top.startswith("Poor estimates: first in step0 (") and "; second in step0 (" in top
    assert sum(f"slope {row['slope']:.2f}" in top for row in poor) == 4
    assert f"gap {max(row['completeness_gap'] for row in rows):.2f}" in top
    assert not any("oor estimate" in each for each in rest)
    with pytest.raises(ValueError, match=r"sound_slopes = \[2, 1\]: the first must be below the second"):
        make_config(given[0], sound_slopes=(2.0, 1.0))


@pytest.mark.parametrize("baseline", ["auto", "zero"])
def test_pairs_without_a_patch_prefix_end_at_the_mean_or_at_zero(
    inputs: AnalysisInputs, tmp_path: Path, baseline: str
) -> None:
    given = write_pairs(tmp_path / "first.jsonl", 12, patch=False)
    result = RUN(inputs, make_config(given, baseline=baseline, verify=0))
    expected = {"auto": "mean", "zero": "zero"}[baseline]
    assert {row["baseline"] for row in result.table("verification").rows()} == {expected}


def test_every_finished_snapshot_is_taken_from_scratch(
    inputs: AnalysisInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl", 8), write_pairs(tmp_path / "second.jsonl", 8, seed=1))
    opened: list[int] = []
    original = SnapshotSeries.open

    def dies(self: SnapshotSeries, index: int, **given: Any) -> Any:
        opened.append(index)
        if len(opened) == 4:
            raise KeyboardInterrupt
        return original(self, index, **given)

    monkeypatch.setattr(SnapshotSeries, "open", dies)
    with pytest.raises(KeyboardInterrupt):
        RUN(inputs, config)
    first = RUN(inputs, config)
    assert opened == [0, 1, 0, 1, 1], "once for activations, once for gradients; the one that died again"
    again = RUN(inputs, config)
    assert len(opened) == 5
    for name in ("effects", "shares", "verification", "groups", "overlaps"):
        assert first.table(name).rows() == again.table(name).rows()


def test_groups_are_means_over_their_prompts_and_overlap_with_themselves(
    inputs: AnalysisInputs, tmp_path: Path
) -> None:
    config = make_config(write_pairs(tmp_path / "first.jsonl"), write_pairs(tmp_path / "second.jsonl", 16, seed=1))
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    found = attribute_behaviours(inputs, config, pairs)
    groups = {(group.by, group.name): group for group in iter_groups(found)}
    assert set(groups) == {
        ("behaviour", "first"),
        ("behaviour", "second"),
        ("phenomenon", "kind 0"),
        ("phenomenon", "kind 1"),
    }
    whole = groups["behaviour", "first"]
    assert np.allclose(whole.effect, judge_effects(found["first"], config).effect)
    kind = groups["phenomenon", "kind 1"]
    assert kind.n_prompts == 20 and kind.n_clusters == 20
    total = np.zeros((N_LATENTS, 2))
    for given in found.values():
        member = np.array([pair.phenomenon == "kind 1" for pair in given.pairs.pairs])
        chosen = member[given.effects.prompt]
        np.add.at(total, given.effects.latent[chosen], given.effects.values[chosen])
    assert np.allclose(kind.effect, total[kind.latents] / 20)


def test_shuffled_answers_seldom_find_anything(inputs: AnalysisInputs, tmp_path: Path) -> None:
    found = 0
    for seed in range(8):
        given = write_pairs(tmp_path / f"s{seed}.jsonl", 24, seed=seed, swap=True)
        config = make_config(given, method="atp", seed=seed)
        pairs = tokenize_behaviours([given], config.policy, inputs.series.tokenizer)
        found += bool(judge_effects(attribute_behaviours(inputs, config, pairs)[given.label], config).significant.any())
    assert found <= 3


def test_bad_input_is_named_before_a_snapshot_is_opened(
    inputs: AnalysisInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_pairs(tmp_path / "first.jsonl", 6)
    alone = write_pairs(tmp_path / "alone.jsonl", 6, patch=False)
    monkeypatch.setattr(SnapshotSeries, "open", lambda *_, **__: pytest.fail("a snapshot was opened"))
    with pytest.raises(AnalysisError, match="'alone' has pairs without a patch prefix; set baseline = \"mean\""):
        RUN(inputs, make_config(alone, baseline="pair"))
    longer = tmp_path / "longer.jsonl"
    longer.write_text('{"clean_prefix": "w1 w2 w3", "patch_prefix": "w1 w2 w3 w4", "right": " w5", "wrong": " w6"}')
    unequal = given.model_copy(update={"path": str(longer), "name": "longer"})
    with pytest.raises(CorpusError, match="1 with prefixes of unequal length"):
        RUN(inputs, make_config(unequal))
    with pytest.raises(AnalysisError, match="prefixes of unequal length, whose positions cannot be compared"):
        RUN(inputs, make_config(unequal, policy=PairPolicy(equal_length=False)))
    with pytest.raises(OntogenyError, match=r"'first': prompt 0 \(\d+ tokens\) has no position left"):
        RUN(inputs, make_config(given, skip_first=30))
    with pytest.raises(OntogenyError, match="no position left"):
        RUN(inputs, make_config(given, positions=[-40]))
    with pytest.raises(ValueError, match="less than or equal to -1"):
        make_config(given, positions=[3])
    with pytest.raises(AnalysisError, match=r"'resid_post\.1'; the dictionary has resid_post\.0"):
        RUN(inputs, make_config(given, hook_points=["resid_post.1"]))


@pytest.mark.parametrize("gate", ["shared", "per_source"])
def test_what_a_source_holds_is_the_fit_along_its_own_decoder(tmp_path: Path, gate: str) -> None:
    dictionary = tiny_dictionary(kind="topk", gate=gate)
    series, prompts = tiny_inputs(tmp_path, dictionary).series, clean_prompts(tiny_pairs())
    activations, moves = read_all(series, prompts), moving_positions(prompts)
    held = compute_held(dictionary, activations, moves, batch=3)
    rows = activations.values[moves]
    codes = dictionary.encode(rows).sparse()
    error = dictionary.normalise_target(rows) - dictionary.decode_normalised(codes, None)
    for source in range(2):
        f, on = codes.dense(), codes.dense(source)
        directions = dictionary.W_dec[:, source]
        norms = directions.norm(dim=1)
        along = (error[:, source] @ directions.T) / norms + on * norms
        expected = (f * along).sum(0) / f.square().sum(0)
        assert np.allclose(held[:, source], expected.detach(), atol=1e-4, equal_nan=True)


def test_tokens_that_a_snapshot_lacks_are_named(inputs: AnalysisInputs, tmp_path: Path) -> None:
    """As those of a chat's template in a base model."""
    more = closed_tokenizer([*WORDS, *(f"x{number}" for number in range(20)), "<user>"])
    more.save_pretrained(tmp_path / "family" / "step8")
    rows = [{"clean_prefix": "w1 w2 <user>", "right": " w3", "wrong": " w4", "cluster": str(n)} for n in range(4)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = BehaviourConfig(kind="jsonl", path=str(tmp_path / "chat.jsonl"))
    with pytest.raises(AnalysisError, match=r"'chat' has the token '<user>' \(id \d+\), and step0 knows 40; leave out"):
        RUN(inputs, make_config(given))
