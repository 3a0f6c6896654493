"""Behaviours over snapshots: numbers against the models asked by hand, similarity, the choice, resuming."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from analyses.tiny_behaviours import tiny_inputs, write_pairs
from ontogeny.analyses import ANALYSES
from ontogeny.analyses.behaviours import BehavioursConfig
from ontogeny.analyses.behaviours.choice import choose_snapshots, compute_similarities
from ontogeny.errors import AnalysisError, CorpusError
from ontogeny.results import load_result, save_result
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours
from ontogeny.tokens.pairs.config import BehaviourConfig, PairPolicy

RUN = ANALYSES["behaviours"].run


def test_tables_say_what_the_models_say(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    config = BehavioursConfig(behaviours=[write_pairs(tmp_path / "first.jsonl")], draws=100, batch=5)
    save_result(RUN(inputs, config), tmp_path / "result")
    result = load_result(tmp_path / "result")
    pairs = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)["first"]
    for index, label in enumerate(("step0", "step8")):
        rows = [row for row in result.table("curves").rows() if row["snapshot"] == label]
        assert [row["group"] for row in rows] == ["all", "kind 0", "kind 1"]
        module, gains, sentences = inputs.series.open(index).module, [], []
        for at in range(len(pairs)):
            ids = torch.from_numpy(pairs.clean[at : at + 1, : pairs.length[at]])
            both = [torch.cat([ids, torch.tensor([[int(each[at])]])], 1) for each in (pairs.right, pairs.wrong)]
            with torch.no_grad():
                final = module(ids).logits[0, -1]
                said = [module(each).logits[0, :-1].log_softmax(-1) for each in both]
            gains.append(float(final[int(pairs.right[at])] - final[int(pairs.wrong[at])]))
            # Prefixes agree, so that the sentences differ by what their last tokens are given.
            scores = [float(p.gather(1, t[0, 1:, None]).sum()) for p, t in zip(said, both, strict=True)]
            sentences.append(scores[0] - scores[1])
        assert rows[0]["difference"] == pytest.approx(np.mean(gains), abs=1e-5)
        assert rows[0]["accuracy"] == pytest.approx(np.mean(np.array(gains) > 0))
        assert rows[0]["accuracy_low"] <= rows[0]["accuracy"] <= rows[0]["accuracy_high"]
        assert rows[0]["sentence_accuracy"] == pytest.approx(np.mean(np.array(sentences) >= 0))
        assert rows[0]["n"] == 24 and rows[0]["n_clusters"] == 12
    kept = [row for row in result.table("skipped").rows() if row["reason"] == "kept"]
    assert kept[0]["n"] == 24
    assert all(0 <= row["blind"] <= 1 for row in result.table("curves").rows())
    assert all(row["above_chance"] in (True, False) for row in result.table("curves").rows())
    few = RUN(inputs, config.model_copy(update={"min_clusters": 13}))
    assert few.summary["above_chance"] == {"first": None}
    assert "first: too few independent groups of pairs (12 of 13) to say what" in few.summary["sentences"][0]
    same = [row for row in result.table("similarity").rows() if row["snapshot"] == row["other"]]
    assert all(row["cka"] == row["cosine"] == 1 for row in same)
    assert result.summary["chosen"]["first"] == ["step0", "step8"]


def test_one_word_after_two_prefixes_is_right_where_it_is_likelier_after_the_clean_one(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    path = tmp_path / "one.jsonl"
    prefixes = [(f"w{n} w{n + 3} w4", f"w{n} w{n + 9} w4") for n in range(1, 9)]
    rows = [f'{{"clean_prefix": "{clean}", "patch_prefix": "{patch}", "right": " w2"}}' for clean, patch in prefixes]
    path.write_text("\n".join(rows))
    config = BehavioursConfig(behaviours=[BehaviourConfig(kind="jsonl", path=str(path))], draws=10)
    accuracy = [row["accuracy"] for row in RUN(inputs, config).table("curves").rows()]
    for index in range(2):
        module, right = inputs.series.open(index).module, []
        for both in prefixes:
            ids = [torch.tensor([[0, *inputs.series.tokenizer(each)["input_ids"]]]) for each in both]
            with torch.no_grad():
                clean, patch = (float(module(each).logits[0, -1].log_softmax(-1)[2]) for each in ids)
            right.append(clean > patch)
        assert accuracy[index] == pytest.approx(np.mean(right))


def test_a_finished_snapshot_is_taken_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tiny_inputs(tmp_path)
    config = BehavioursConfig(behaviours=[write_pairs(tmp_path / "first.jsonl", 8)], draws=10)
    first = RUN(inputs, config)
    monkeypatch.setattr(type(inputs.series), "open", lambda *_, **__: pytest.fail("opened again"))
    again = RUN(inputs, config)
    for name in ("curves", "similarity", "chosen"):
        assert first.table(name).rows() == again.table(name).rows()


def test_similarities_are_those_of_their_formulas() -> None:
    draw = np.random.default_rng(0)
    a = draw.normal(size=(60, 6)) + 2
    b = draw.normal(size=(60, 6)) + a
    turned = a @ np.linalg.qr(draw.normal(size=(6, 6)))[0] * 3
    found = compute_similarities([a, b, turned])
    cosine = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    assert np.isclose(found["cosine"][0, 1], np.mean(cosine))
    pearson = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    assert np.isclose(found["pearson"][1, 0], np.mean(pearson))
    assert np.isclose(found["cka"][0, 2], 1.0), "CKA knows no rotation and no scale"
    ca, cb = a - a.mean(0), b - b.mean(0)
    gram = [x @ x.T for x in (ca, cb)]
    expected = (gram[0] * gram[1]).sum() / np.linalg.norm(gram[0]) / np.linalg.norm(gram[1])
    assert np.isclose(found["cka"][0, 1], expected)
    assert found["cosine_centred"][0, 1] < found["cosine"][0, 1]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_choice_is_the_best_of_all(count: int) -> None:
    gain = np.random.default_rng(count).random((8, 8))
    chosen = choose_snapshots(gain, count)

    def worth(places: tuple[int, ...]) -> float:
        return sum(gain[a, b] for a, b in pairwise(places))

    assert worth(tuple(chosen)) == pytest.approx(max(worth(each) for each in combinations(range(8), count)))
    assert chosen == sorted(set(chosen)) and len(chosen) == count
    assert choose_snapshots(gain[:3, :3], 5) == [0, 1, 2]


def test_bad_input_is_named(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    config = write_pairs(tmp_path / "first.jsonl", 4)
    with pytest.raises(AnalysisError, match="'step9'; the series has step0, step8"):
        RUN(inputs, BehavioursConfig(behaviours=[config], manual=["step9"]))
    with pytest.raises(CorpusError, match="two behaviours are called 'first'"):
        tokenize_behaviours([config, config], PairPolicy(), inputs.series.tokenizer)
    same = tmp_path / "same.jsonl"
    same.write_text('{"clean_prefix": "w1 w2", "right": " w3", "wrong": " w3"}')
    with pytest.raises(CorpusError, match="'same': no pair is left of 1: 1 whose answers are the same token"):
        RUN(inputs, BehavioursConfig(behaviours=[config.model_copy(update={"path": str(same), "name": "same"})]))
    alone = tmp_path / "alone.jsonl"
    alone.write_text('{"clean_prefix": "w1 w2", "right": " w3"}')
    with pytest.raises(AnalysisError, match="one answer and no patch prefix"):
        RUN(inputs, BehavioursConfig(behaviours=[config.model_copy(update={"path": str(alone)})]))
    with pytest.raises(CorpusError, match="no behaviour is named"):
        RUN(inputs, BehavioursConfig(behaviours=[]))


@pytest.mark.parametrize("name", ["behaviours", "indirect_effects"])
def test_the_files_of_pairs_are_named_so_that_their_contents_enter_the_id(tmp_path: Path, name: str) -> None:
    analysis, given = ANALYSES[name], write_pairs(tmp_path / "first.jsonl", 4)
    drawn = given.model_copy(update={"kind": "agreement", "path": None})
    assert analysis.reads is not None
    assert analysis.reads(analysis.Config.model_validate({"behaviours": [given, drawn]})) == [tmp_path / "first.jsonl"]
