"""The bridge to lm-eval: its numbers against a model asked by hand, its answers as rows, what it refuses."""

import json
import sys
from pathlib import Path

import pytest
import torch

from analyses.tiny_behaviours import WORDS, tiny_inputs
from ontogeny.analyses import ANALYSES
from ontogeny.analyses.lm_eval import LmEvalConfig, _rows
from ontogeny.errors import AnalysisError
from ontogeny.results import load_result, save_result

RUN = ANALYSES["lm_eval"].run
ANSWER = {
    "results": {
        "t": {
            "alias": "t",
            "sample_len": 3,
            "acc,none": 0.5,
            "acc_stderr,none": 0.1,
            "em,strict": 1,
            "em_stderr,strict": "N/A",
        }
    },
    "n-samples": {"t": {"original": 9, "effective": 3}},
    "n-shot": {"t": 2},
    "versions": {"t": 1.0},
}


def test_an_answer_becomes_rows() -> None:
    rows = list(_rows("t", ANSWER["results"]["t"], ANSWER))
    common = {"task": "t", "n": 3, "shots": 2, "version": "1.0"}
    assert rows == [
        {"metric": "acc", "filter": None, "value": 0.5, "value_se": 0.1} | common,
        {"metric": "em", "filter": "strict", "value": 1.0, "value_se": None} | common,
    ]


def test_without_lm_eval_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(AnalysisError, match=r"ontogeny\[eval\]"):
        RUN(tiny_inputs(tmp_path), LmEvalConfig())


def test_files_of_the_users_tasks_enter_the_id(tmp_path: Path) -> None:
    reads = ANALYSES["lm_eval"].reads
    assert reads is not None and list(reads(LmEvalConfig())) == []
    (tmp_path / "mine.yaml").write_text("task: mine\n")
    assert reads(LmEvalConfig(folder=str(tmp_path))) == [tmp_path / "mine.yaml"]


def write_task(folder: Path, texts: list[tuple[str, str]]) -> None:
    """A task of minimal pairs in lm-eval's own form."""
    folder.mkdir()
    rows = [{"right": right, "wrong": wrong} for right, wrong in texts]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    validation: {folder / 'pairs.jsonl'}\n"
        "validation_split: validation\noutput_type: multiple_choice\nnum_fewshot: 0\n"
        'doc_to_text: ""\ndoc_to_choice: "{{[right, wrong]}}"\ndoc_to_target: 0\n'
        "metric_list:\n  - metric: acc\nmetadata:\n  version: 1.0\n"
    )


@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    inputs = tiny_inputs(tmp_path)
    tokenizer = inputs.series.tokenizer
    texts = [(f"{a} {b} {c}", f"{a} {c} {b}") for a, b, c in zip(WORDS, WORDS[1:], WORDS[3:], strict=False)]
    write_task(tmp_path / "tasks", texts)
    config = LmEvalConfig(tasks=("mine",), folder=str(tmp_path / "tasks"), batch=4)
    save_result(RUN(inputs, config), tmp_path / "result")
    rows = load_result(tmp_path / "result").table("scores").rows()
    assert [row["snapshot"] for row in rows] == inputs.series.labels and {row["metric"] for row in rows} == {"acc"}
    for index, row in enumerate(rows):
        module, right = inputs.series.open(index).module, 0
        for pair in texts:
            scores = []
            for text in pair:
                # lm-eval's empty context is the text's end token.
                ids = torch.tensor(
                    [[tokenizer.eos_token_id or 0, *tokenizer(text, add_special_tokens=False).input_ids]]
                )
                with torch.no_grad():
                    said = module(ids).logits[0, :-1].log_softmax(-1)
                scores.append(float(said.gather(1, ids[0, 1:, None]).sum()))
            right += scores[0] > scores[1]
        assert row["value"] == pytest.approx(right / len(texts), abs=1.5 / len(texts)) and row["n"] == len(texts)
    with pytest.raises(AnalysisError, match="no task 'mone'; nearest: mine"):
        RUN(inputs, LmEvalConfig(tasks=("mone",), folder=str(tmp_path / "tasks")))
