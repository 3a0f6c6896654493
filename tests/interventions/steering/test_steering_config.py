"""Requests and files of interventions: what they hold, what they refuse."""

from pathlib import Path
from typing import Any

import pytest

from interventions.steering.tiny_steerer import POINT, ask, make_dictionary, make_steerer, save_series
from ontogeny.errors import (
    AnalysisError,
    ConfigError,
    CorpusError,
    DictionaryError,
    HookPointError,
    OntogenyError,
    SnapshotError,
    StoreError,
)
from ontogeny.interventions.steering.config import load_interventions, save_interventions
from ontogeny.interventions.steering.steerer import Steerer
from ontogeny.interventions.steering.words import describe_intervention

ALL: list[dict[str, Any]] = [
    {"kind": "add", "latents": [1, 2], "strength": -3.5, "unit": "max", "on": "generated"},
    {"kind": "set", "latents": [1], "strength": 0},
    {"kind": "scale", "factor": 0.5, "hook_point": POINT},
    {"kind": "remove", "latents": [3], "on": "prompt"},
    {"kind": "replace_latents", "by": "step0", "latents": [4, 5]},
    {"kind": "replace_reconstruction", "by": "step0"},
    {"kind": "replace_error", "by": "step0"},
    {"kind": "lower_half", "snapshot": "step0", "layer": 1},
]


@pytest.fixture(scope="module")
def steerer(tmp_path_factory: pytest.TempPathFactory) -> Steerer:
    return make_steerer(save_series(tmp_path_factory.mktemp("series")))


def test_interventions_come_back_from_their_file(tmp_path: Path) -> None:
    interventions = list(ask("step8", *ALL).interventions)
    save_interventions(tmp_path / "some.json", interventions)
    assert load_interventions(tmp_path / "some.json") == interventions


def test_every_intervention_has_words() -> None:
    words = [describe_intervention(each) for each in ask("step8", *ALL).interventions]
    assert words[0] == "latents 1, 2: -3.5 × their largest codes, on generated tokens"
    assert words[2] == "all latents: × 0.5 at resid_post.1, on the prompt and what is generated"
    assert len(set(words)) == len(ALL)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"version": 2, "interventions": []}', "version"),
        ('{"version": 1, "interventions": [{"kind": "add", "latents": [1], "strenth": 3}]}', "strength"),
        ('{"version": 1, "interventions": [{"kind": "ad", "latents": [1]}]}', "'add'"),
        ('{"version": 1, "interventions": [{"kind": "add", "latents": [], "strength": 1}]}', "latents"),
        ('{"version": 1, "interventions": [{"kind": "add", "latents": [-1], "strength": 1}]}', "-1"),
        ('{"version": 1, "interventions": [{"kind": "scale", "factor": NaN}]}', "factor"),
        ('{"version": 1, "intervention": []}', "interventions"),
        ("[", "is not valid JSON: EOF"),
        ("", "is not valid JSON: EOF"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "wrong.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_interventions(tmp_path / "wrong.json")
    assert hint in str(caught.value) and "wrong.json" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "error", "hint"),
    [
        (ask("step8", {"kind": "add", "latents": [24], "strength": 1}), DictionaryError, "24, from 0 on"),
        (ask("step8", monitor=[99]), DictionaryError, "99"),
        (ask("step80"), SnapshotError, "step8"),
        (ask("step8", {"kind": "replace_error", "by": "stp0"}), SnapshotError, "'step0'"),
        (ask("step8", read=["step1"]), SnapshotError, "reads"),
        (ask("step8", {"kind": "remove", "hook_point": "resid_post.0"}), HookPointError, "it has resid_post.1"),
        (ask("step8", {"kind": "remove", "hook_point": "resid.0"}), HookPointError, "SITE.LAYER"),
        (ask("step8", {"kind": "lower_half", "snapshot": "step0", "layer": 3}), HookPointError, "1 to 2"),
        (ask("step8", *[ALL[-1]] * 2), AnalysisError, "one lower half"),
        (ask("step8", {"kind": "add", "latents": [1], "strength": 1, "unit": "max"}), AnalysisError, "statistics"),
        (ask("step8", prompt=""), CorpusError, "no tokens"),
        (ask("step8", prompt="   "), CorpusError, "no tokens"),
    ],
)
def test_a_request_that_cannot_be_is_one_sentence(
    steerer: Steerer, asked: Any, error: type[OntogenyError], hint: str
) -> None:
    with pytest.raises(error) as caught:
        steerer.steer(asked)
    assert hint in str(caught.value) and "\n" not in str(caught.value)


def test_prompts_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    steerer = make_steerer(save_series(tmp_path, "llama", ["step8"]))
    with pytest.raises(CorpusError, match="has 66 tokens, and with a context of 64"):
        steerer.steer(ask("step8", prompt=" ".join(["w1"] * 65)))


def test_a_strength_that_leaves_the_numbers_is_named(steerer: Steerer) -> None:
    with pytest.raises(OntogenyError, match="lower the strengths"):
        steerer.steer(ask("step8", {"kind": "add", "latents": [1], "strength": 1e38}))


def test_dictionary_and_series_must_fit(steerer: Steerer) -> None:
    with pytest.raises(StoreError, match="step9"):
        Steerer(steerer.series, make_dictionary(["step0", "step9"]), [POINT])
    with pytest.raises(HookPointError, match="out of range"):
        Steerer(steerer.series, make_dictionary(["step0", "step8"]), ["resid_post.7"])


def test_strengths_in_largest_codes(steerer: Steerer) -> None:
    import numpy as np

    known = Steerer(steerer.series, steerer.dictionary, [POINT], largest=np.arange(24.0))
    twice = known.steer(ask("step8", {"kind": "add", "latents": [4], "strength": 2, "unit": "max"}))
    eight = known.steer(ask("step8", {"kind": "add", "latents": [4], "strength": 8}))
    assert [each.kl for each in twice.tokens] == [each.kl for each in eight.tokens]
    assert twice.largest == (4.0,)
    with pytest.raises(AnalysisError, match="never on"):
        known.steer(ask("step8", {"kind": "add", "latents": [0], "strength": 2, "unit": "max"}))
