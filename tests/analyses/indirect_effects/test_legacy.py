"""Published numbers: what the mode fixes, its tables against the engine, one snapshot, weights of padded batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from analyses.tiny_behaviours import tiny_inputs, write_pairs
from interventions.tiny_prompts import NAMES, attribute, tiny_plan
from ontogeny.analyses import ANALYSES
from ontogeny.analyses.indirect_effects import IndirectEffectsConfig
from ontogeny.analyses.indirect_effects.legacy import check_legacy, slot_weights
from ontogeny.errors import AnalysisError
from ontogeny.latents.relie import compute_legacy_shares, legacy_classes
from ontogeny.results import load_result, save_result
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours

RUN = ANALYSES["indirect_effects"].run


def test_the_two_readings_fix_what_was_published() -> None:
    run, meant = (IndirectEffectsConfig.model_validate({"legacy": each}) for each in ("as_run", "as_meant"))
    assert (run.method, run.steps, run.baseline, run.skip_first, run.batch) == ("atp", 1, "zero", 0, 4)
    assert (meant.method, meant.steps, meant.rule, meant.baseline) == ("ig", 10, "left", "zero")
    assert IndirectEffectsConfig.model_validate(meant.model_dump()) == meant
    assert IndirectEffectsConfig(legacy="as_run", batch=8).batch == 8
    with pytest.raises(ValidationError, match="fixes baseline = 'zero'; leave baseline out"):
        IndirectEffectsConfig(legacy="as_run", baseline="pair")
    with pytest.raises(ValidationError, match="'as_run' or 'as_meant'"):
        IndirectEffectsConfig.model_validate({"legacy": "as_published"})


def test_a_prompt_counts_by_the_slots_of_its_batch() -> None:
    lengths = np.array([3, 5, 2, 4, 4])
    effect = [np.arange(length) + 1.0 for length in lengths]
    padded = [sum(each.sum() for each in effect[:2]) / 10, sum(each.sum() for each in effect[2:4]) / 8]
    expected = (sum(padded) + effect[4].mean()) / 5
    assert np.isclose(slot_weights(lengths, 2) @ [each.sum() for each in effect], expected)


@pytest.mark.parametrize("legacy", ["as_run", "as_meant"])
def test_tables_hold_the_published_shares(tmp_path: Path, legacy: Any) -> None:
    inputs = tiny_inputs(tmp_path)
    given = write_pairs(tmp_path / "first.jsonl", 12)
    config = IndirectEffectsConfig(
        behaviours=[given], legacy=legacy, legacy_threshold=0, draws=20, flips=50, verify=0, batch=5
    )
    save_result(RUN(inputs, config), tmp_path / "result")
    result = load_result(tmp_path / "result")
    pairs = tokenize_behaviours([given], config.policy, inputs.series.tokenizer)["first"]
    steps = 1 if legacy == "as_run" else 10
    plan = tiny_plan(inputs.series, inputs.dictionary, pairs, baseline="zero", steps=steps, skip_first=0)
    effects = attribute(inputs.series, plan)
    nodes = effects.weighted_sums(slot_weights(pairs.length, 5)).T
    frame = result.table("legacy").to_pandas()
    for source, name in enumerate(NAMES):
        mine = frame[frame.source == name].sort_values("latent")
        assert np.allclose(mine.effect, nodes[source], atol=1e-6)
        assert np.allclose(mine.share, compute_legacy_shares(nodes)[source], atol=1e-4)
        assert mine.latent[mine["rank"] == 0].tolist() == [effects.active[np.abs(nodes[source]).argmax()]]
    assert set(frame.group) <= set(legacy_classes(np.array([[1.0, 0, 0.5], [0, 1, 0.5]]), NAMES))
    later = result.table("legacy_pairs").to_pandas()
    assert np.allclose(later.share, frame[frame.source == NAMES[1]].share) and set(later.late) == {NAMES[1]}
    assert any(legacy.replace("_", " ") in each for each in result.summary["sentences"])


def test_a_threshold_drops_small_effects_of_single_positions(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    given = write_pairs(tmp_path / "first.jsonl", 6)
    config = IndirectEffectsConfig(behaviours=[given], legacy="as_run", legacy_threshold=1e6, verify=0)
    result = RUN(inputs, config)
    rows = result.table("legacy").rows()
    assert rows and {row["effect"] for row in rows} == {0} and {row["share"] for row in rows} == {0.5}
    assert "which leaves 0% of them" in result.summary["sentences"][-1]


def test_one_snapshot_has_no_share() -> None:
    with pytest.raises(AnalysisError, match=r"the dictionary has one at resid_post\.3"):
        check_legacy({"resid_post.3": [0]})
