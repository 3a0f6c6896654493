"""Whose latents are whose: planted, and against the published classes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analyses.planted import DECOUPLED, FIRST_ONLY, N_LATENTS, ONLY, SHARED, SHRUNK, answer, planted_inputs
from golden.parity import case_files, load_case
from ontogeny.analyses.base_chat import BASE_CHAT, BaseChatConfig
from ontogeny.errors import AnalysisError
from ontogeny.latents.pair import classify, compute_delta
from ontogeny.results import Result
from paths import requires_shared

CONFIG = BaseChatConfig(kl_tokens=0, components=3)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("base_chat")
    inputs = planted_inputs(folder)
    mask = inputs.corpus.masks["control"]
    mask |= np.asarray(inputs.corpus.keep) & (np.arange(mask.shape[1]) % 2 == 0)
    inputs.corpus.masks["assistant"] |= ~mask & np.asarray(inputs.corpus.keep)
    return answer(BASE_CHAT, inputs, CONFIG, folder / "result")


def test_only_what_is_really_absent_survives(result: Result) -> None:
    latents = {row["latent"]: row for row in result.table("latents").rows()}
    assert [row["latent"] for row in latents.values()] == list(range(N_LATENTS))
    classes = {latent: row["class"] for latent, row in latents.items()}
    assert classes[0] == "dead"
    assert {latent for latent, name in classes.items() if name == "chat-only"} == {ONLY, SHRUNK, DECOUPLED}
    assert classes[FIRST_ONLY] == "base-only" and classes[SHARED] == "shared"
    assert {latent for latent, row in latents.items() if row["survives"]} == {ONLY, FIRST_ONLY}
    assert latents[SHRUNK]["complete_shrinkage"] and latents[DECOUPLED]["latent_decoupling"]
    assert latents[ONLY]["delta_norm"] > 0.9 and latents[FIRST_ONLY]["probe"] == "base"
    assert latents[SHARED]["survives"] is None


def test_dead_latents_have_no_half(result: Result) -> None:
    dead = result.table("latents").rows()[0]
    missing = ("delta_norm", "delta_norm_raw", "cosine", "nu_error", "nu_error_se", "template_share", "survives")
    assert dead["n_active"] == 0
    assert all(dead[name] is None for name in missing)


def test_classes_count_and_carry_intervals(result: Result) -> None:
    classes = {row["class"]: row for row in result.table("classes").rows()}
    assert list(classes) == ["chat-only", "base-only", "shared", "other", "dead"]
    chat = classes["chat-only"]
    assert (chat["n"], chat["tested"], chat["survive"]) == (3, 3, 1)
    assert (chat["complete_shrinkage"], chat["latent_decoupling"]) == (1, 1)
    assert chat["share"] == pytest.approx(3 / 7)
    assert chat["share_low"] < chat["share"] < chat["share_high"]
    assert chat["survive_low"] < 1 / 3 < chat["survive_high"]
    assert classes["shared"]["survive"] is None and classes["dead"]["share"] is None
    assert result.summary["chat_only_survive"] == 1


def test_template_shares_follow_the_masks(result: Result) -> None:
    rows = [row for row in result.table("latents").rows() if row["n_active"]]
    for row in rows:
        assert row["template_share"] + row["assistant_share"] == pytest.approx(1)
        assert 0 < row["template_share_se"] < 0.2
    assert result.summary["missing"] == [
        "kl_tokens = 0: the models were not run, so divergence and logit lens are missing"
    ]
    mean = np.mean([row["template_share"] for row in rows])
    assert result.summary["template_share_of_tokens"] == pytest.approx(mean, abs=0.05)


def test_without_chat_masks_the_rest_is_made_and_the_summary_says_so(tmp_path: Path) -> None:
    result = answer(BASE_CHAT, planted_inputs(tmp_path), CONFIG, tmp_path / "result")
    assert all(row["template_share"] is None for row in result.table("latents").rows())
    assert result.summary["missing"][0].startswith("no chat masks")
    assert result.summary["chat_only"] == 3


def test_of_more_than_two_sources_first_and_last_or_those_named_are_compared(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path, ("step0", "step1", "step2"))
    result = answer(BASE_CHAT, inputs, CONFIG, tmp_path / "ends")
    assert (result.summary["base"], result.summary["chat"]) == ("step0", "step2")
    assert result.summary["chat_only_survive"] == 1
    named = answer(BASE_CHAT, inputs, CONFIG.model_copy(update={"base": "step1"}), tmp_path / "named")
    assert (named.summary["base"], named.summary["chat_only"], named.summary["base_only"]) == ("step1", 0, 1)


def test_what_is_lacking_is_named(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path)
    assert BASE_CHAT.ride is not None
    with pytest.raises(
        AnalysisError, match="chat = 'instruct' is no source of this dictionary; take one of base, chat"
    ):
        BASE_CHAT.ride(inputs, BaseChatConfig(chat="instruct"))
    with pytest.raises(AnalysisError, match="cannot compare chat with chat"):
        BASE_CHAT.ride(inputs, BaseChatConfig(base="chat"))
    alone = planted_inputs(tmp_path / "one", ("only",))
    with pytest.raises(AnalysisError, match="has one \\(only\\); train it over both models"):
        BASE_CHAT.ride(dataclasses.replace(alone), BaseChatConfig())


@requires_shared
@pytest.mark.parametrize("path", case_files("latent_scaling"), ids=lambda path: path.stem)
def test_classes_are_the_published_ones(path: Path) -> None:
    _, tensors = load_case(path)
    norms = np.stack([tensors["dec_base_norm"].numpy(), tensors["dec_ft_norm"].numpy()], axis=1).astype(np.float64)
    delta = compute_delta(norms)
    np.testing.assert_allclose(delta, tensors["delta_norm_paper"].numpy(), atol=1e-6)
    theirs = tensors["class_id"].numpy()  # ft_only, base_only, shared, other
    assert np.array_equal(classify(delta, np.ones(len(delta), np.int64), 0.1), theirs)
