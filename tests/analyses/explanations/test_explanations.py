"""Explanations through a stub endpoint: a perfect model, a clueless one, and endpoints that fail in every way."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from analyses.explanations.endpoint import Said, completion, serve
from analyses.small_inputs import saved
from analyses.tiny_run import tiny_inputs
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.explanations import run
from ontogeny.analyses.explanations.client import Answers, Reply
from ontogeny.analyses.explanations.config import ExplanationsConfig
from ontogeny.analyses.explanations.dossier import mark
from ontogeny.analyses.explanations.prompts import read_explanation, read_numbers
from ontogeny.analyses.explanations.report import _open_cases, _trials, estimate_cost
from ontogeny.analyses.explanations.scoring import Trial, compute_score
from ontogeny.errors import AnalysisError, OntogenyError

SMALL: dict[str, Any] = {
    "model": "stub", "latents": (3, 5, 11), "shown": 4, "scored": 6, "before": 3, "after": 1, "first_wait": 0.0,
    "retries": 2, "workers": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> AnalysisInputs:
    return tiny_inputs(tmp_path_factory.mktemp("explanations"), n_rows=60)


@pytest.fixture
def inputs(opened: AnalysisInputs, tmp_path: Path) -> AnalysisInputs:
    (tmp_path / "scratch").mkdir()
    return dataclasses.replace(opened, scratch=tmp_path / "scratch")


def user_text(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def perfect(inputs: AnalysisInputs, config: ExplanationsConfig) -> dict[tuple[str, ...], list[int]]:
    """The right answer by the texts of a question."""
    assert inputs.codes is not None
    return {
        trial.texts: [number for number, truth in enumerate(trial.truth, 1) if truth]
        for case in _open_cases(inputs, config, inputs.codes)
        for trial, _ in _trials(case.dossier, config).values()
    }


def texts_in(request: dict[str, Any]) -> tuple[str, ...]:
    lines = user_text(request).split("\n\n", 1)[-1].splitlines()
    return tuple(json.loads(line.split(". ", 1)[1]) for line in lines)


def test_a_perfect_model_scores_one_and_a_clueless_one_half(inputs: AnalysisInputs, tmp_path: Path) -> None:
    truth: dict[tuple[str, ...], list[int]] = {}

    def knows(request: dict[str, Any], _: int) -> Said:
        if "The unit responds to" not in user_text(request):
            return completion('Let me think {about it}. ```json\n{"explanation": "the  word", "complexity": 2}\n```')
        assert "responds to: the word\n" in user_text(request)
        return completion(json.dumps({"on": truth[texts_in(request)]}))

    with serve(knows) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, **SMALL)
        truth.update(perfect(inputs, config))
        found = saved(run(inputs, config), tmp_path / "perfect")
        assert set(endpoint.paths) == {"/v1/chat/completions"}
        assert {request["model"] for request in endpoint.requests} == {"stub"}
        assert all("authorization" not in {name.lower() for name in each} for each in endpoint.headers)
    rows = found.table("explanations").rows()
    assert [row["latent"] for row in rows] == [3, 5, 11]
    for row in rows:
        assert row["explanation"] == "the word" and row["complexity"] == 2
        assert row["detection"] == row["fuzzing"] == 1.0
        assert 0 < row["detection_se"] < 0.2 and row["n_detection"] >= 8
        assert row["prompt_tokens"] == 21 and row["reply_tokens"] == 9
    judged = found.table("judgements").rows()
    assert all(row["truth"] == row["said"] for row in judged)
    assert any("⟦" in row["text"] for row in judged if row["trial"] == "fuzzing")
    assert not any("⟦" in row["text"] for row in judged if row["trial"] == "detection")
    assert found.summary["detection"] == 1.0

    def clueless(request: dict[str, Any], _: int) -> Said:
        return completion('{"explanation": "?", "on": []}')

    with serve(clueless) as endpoint:
        fresh = dataclasses.replace(inputs, scratch=tmp_path)
        config = ExplanationsConfig(base_url=endpoint.base_url, **SMALL)
        rows = saved(run(fresh, config), tmp_path / "clueless").table("explanations").rows()
    assert all(row["detection"] == row["fuzzing"] == 0.5 and row["complexity"] is None for row in rows)


def test_nothing_is_asked_twice(inputs: AnalysisInputs, tmp_path: Path) -> None:
    def dies(request: dict[str, Any], number: int) -> Said:
        return completion('{"explanation": "x", "on": [1]}') if number <= 4 else Said("no", 400)

    with serve(dies) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, **{**SMALL, "workers": 1})
        with pytest.raises(AnalysisError, match="answered 400"):
            run(inputs, config)
        answered = [json.dumps(each) for each in endpoint.requests[:4]]
    with (inputs.scratch / "answers.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')

    def lives(request: dict[str, Any], _: int) -> Said:
        assert json.dumps(request) not in answered
        return completion('{"explanation": "x", "on": [1]}')

    with serve(lives) as endpoint:
        moved = config.model_copy(update={"base_url": endpoint.base_url})
        found = saved(run(inputs, moved), tmp_path / "first")
        assert len(endpoint.requests) == 9 - 4
        again = saved(run(inputs, moved), tmp_path / "second")
        assert len(endpoint.requests) == 9 - 4
    assert again.table("judgements").rows() == found.table("judgements").rows()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said('{"error": {"message": "no such key"}}', 401), "answered 401 .*no such key.*api_key_env"),
        (Said("<html>not\nfound</html>", 404), "answered 404 '<html>not found</html>'; check .*base_url"),
        (Said("busy", 503), "asked 3 times without a usable answer .*503 busy"),
        (Said("slow down", 429, {"retry-after": "0"}), "asked 3 times .*429 slow down"),
        (Said("{}"), "asked 3 times .*without choices"),
        (Said("\x00garbage" * 100), "asked 3 times .*garbage.*…"),
        (Said('{"choices": [{"message": {"content": null}}]}'), "asked 3 times .*without choices"),
        (Said('{"choices": "none"}'), "asked 3 times .*without choices"),
    ],
    ids=["key", "path", "busy", "pace", "empty", "garbage", "null", "choices"],
)
def test_an_endpoint_that_fails_is_one_sentence(inputs: AnalysisInputs, said: Said, words: str) -> None:
    with serve(lambda *_: said) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, **SMALL)
        with pytest.raises(AnalysisError, match=words) as error:
            run(inputs, config)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_an_overloaded_endpoint_is_asked_again(inputs: AnalysisInputs, tmp_path: Path) -> None:
    def recovers(request: dict[str, Any], number: int) -> Said:
        return Said("busy", 503) if number % 3 == 1 else completion('{"explanation": "x", "on": []}')

    with serve(recovers) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, **{**SMALL, "workers": 1})
        found = saved(run(inputs, config), tmp_path / "result")
    assert found.summary["n_explained"] == 3


def test_slow_and_absent_endpoints(inputs: AnalysisInputs) -> None:
    settings = {**SMALL, "timeout": 0.2, "retries": 1}
    with serve(lambda *_: Said("{}", seconds=30)) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, **settings)
        with pytest.raises(AnalysisError, match=r"asked 2 times .*no reply within 0.2 s"):
            run(inputs, config)
    with pytest.raises(AnalysisError, match="asked 2 times"):
        run(inputs, config)  # nobody listens there now


def test_replies_that_say_nothing_leave_missing_values(inputs: AnalysisInputs, tmp_path: Path) -> None:
    with serve(lambda *_: completion("I would rather not say.")) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, **SMALL)
        found = saved(run(inputs, config), tmp_path / "result")
        assert len(endpoint.requests) == 9  # three attempts each
    for row in found.table("explanations").rows():
        assert row["explanation"] is row["complexity"] is row["detection"] is row["fuzzing_se"] is None
    assert found.summary["detection"] is None and found.table("judgements").rows() == []


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"role": "assistant", "content": None, "refusal": "I cannot."}, "finish_reason": "stop"},
        {"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"},
    ],
    ids=["refusal", "filter"],
)
def test_a_refusal_leaves_one_latent_without_and_no_other(
    inputs: AnalysisInputs, tmp_path: Path, choice: dict[str, Any]
) -> None:
    with serve(lambda *_: Said(json.dumps({"choices": [choice]}))) as endpoint:
        found = saved(run(inputs, ExplanationsConfig(base_url=endpoint.base_url, **SMALL)), tmp_path / "result")
    rows = found.table("explanations").rows()
    assert len(rows) == 3 and all(row["explanation"] is None for row in rows)


def test_the_key_is_sent_and_a_missing_one_named(inputs: AnalysisInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda *_: completion('{"explanation": "x", "on": []}')) as endpoint:
        config = ExplanationsConfig(base_url=endpoint.base_url, api_key_env="STUB_KEY", **SMALL)
        with pytest.raises(AnalysisError, match="STUB_KEY, which is not set"):
            run(inputs, config)
        assert endpoint.requests == []
        monkeypatch.setenv("STUB_KEY", "secret")
        run(inputs, config)
        sent = {name.lower(): value for name, value in endpoint.headers[0].items()}
        assert sent["authorization"] == "Bearer secret"
    assert "secret" not in (inputs.scratch / "answers.jsonl").read_text()


def test_the_cost_is_said_first_and_bounded(inputs: AnalysisInputs, capsys: pytest.CaptureFixture[str]) -> None:
    config = ExplanationsConfig(base_url="http://127.0.0.1:9/v1", max_prompt_tokens=10, **SMALL)
    with pytest.raises(AnalysisError, match=r"more than analyses.explanations.max_prompt_tokens = 10"):
        run(inputs, config)
    assert "9 requests to http://127.0.0.1:9/v1 with some" in capsys.readouterr().err
    assert inputs.codes is not None
    requests, tokens = estimate_cost(_open_cases(inputs, config, inputs.codes), config)
    assert requests == 9 and tokens > 900


def test_latents_that_cannot_be_explained_are_named(inputs: AnalysisInputs) -> None:
    settings = {**SMALL, "base_url": "http://127.0.0.1:9"}
    for latents, words in (((0,), "never fires"), ((999,), "not in the dictionary")):
        with pytest.raises(AnalysisError, match=words):
            run(inputs, ExplanationsConfig(**{**settings, "latents": latents}))
    with pytest.raises(AnalysisError, match="no latent fires on 99999"):
        run(inputs, ExplanationsConfig(**{**settings, "latents": (), "min_active": 99_999}))
    with pytest.raises((OntogenyError, ValueError), match="http://"):
        ExplanationsConfig(**{**settings, "base_url": "localhost:8000"})


def test_what_is_scored_was_not_shown(inputs: AnalysisInputs) -> None:
    assert inputs.codes is not None
    config = ExplanationsConfig(base_url="http://127.0.0.1:9", **SMALL)
    for case in _open_cases(inputs, config, inputs.codes):
        shown = {passage.plain for passage in case.dossier.shown}
        assert len(case.dossier.shown) == 4 and case.dossier.scored
        assert not shown & {passage.plain for passage in case.dossier.scored}
        assert all(passage.active for passage in (*case.dossier.shown, *case.dossier.scored))
        assert not any(passage.active for passage in case.dossier.controls)


def test_replies_are_read_whatever_stands_round_them() -> None:
    found = read_explanation('<think>{"a": 1}</think> Sure: {"explanation": " a\\n b ", "complexity": 4.0} bye')
    assert found is not None and (found.text, found.complexity) == ("a b", 4)
    for reply in ("", "{", "[]", '{"explanation": 3}', '{"explanation": " "}', "{" * 5_000):
        assert read_explanation(reply) is None
    odd = read_explanation('{"explanation": "x", "complexity": 9}')
    assert odd is not None and odd.complexity is None
    assert read_numbers('{"on": [1, 3]}', 3) == {1, 3}
    for reply in ('{"on": [4]}', '{"on": ["1"]}', '{"on": [true]}', "none", '{"on": 1}'):
        assert read_numbers(reply, 3) is None


def test_scores_are_balanced_accuracies() -> None:
    trial = Trial(("a", "b", "c", "d", "e"), (True, True, True, False, False))
    assert compute_score(trial, {1, 2, 3}).value == 1.0
    assert compute_score(trial, {1, 2, 3, 4, 5}).value == 0.5
    assert compute_score(trial, {1, 4}).value == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert compute_score(trial, set()).n == 5
    expected = ((4 / 5 * 1 / 5) / 3 + (3 / 4 * 1 / 4) / 2) ** 0.5 / 2
    assert compute_score(trial, {1, 2, 3}).se == pytest.approx(expected)


def test_marks_run_together() -> None:
    assert mark(("a", "b", "c", "d"), (False, True, True, False)) == "a⟦bc⟧d"
    assert mark(("a", "b"), (True, True)) == "⟦ab⟧"


def test_answers_outlive_a_torn_line(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add("k", Reply("é\n", 1, 2))
    answers.close()
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(b'{"key"')
    answers = Answers(tmp_path / "answers.jsonl")
    assert answers.known == {"k": Reply("é\n", 1, 2)}
    answers.add("l", Reply("x"))
    answers.close()
    answers = Answers(tmp_path / "answers.jsonl")
    answers.close()
    assert set(answers.known) == {"k", "l"}
