"""Both models on the same text, against a forward pass by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from analyses.planted import answer
from analyses.tiny_run import tiny_inputs
from ontogeny.analyses.base_chat import BASE_CHAT, BaseChatConfig
from ontogeny.analyses.base_chat.divergence import compare_predictions, find_examples, group_divergence
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.latents.pair import Pair, choose_pair

CONFIG = BaseChatConfig(kl_tokens=10_000, examples=4, components=2, top_tokens=3, first_tokens=2)


def both(inputs: AnalysisInputs) -> Pair:
    return choose_pair(inputs.dictionary.sources_out, inputs.sources, "base_chat")


def test_divergence_is_that_of_two_forward_passes(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    divergence = compare_predictions(inputs, CONFIG, both(inputs))
    for place in (0, len(divergence.kl) // 2, len(divergence.kl) - 1):
        row, position = int(divergence.row[place]), int(divergence.position[place])
        tokens = torch.from_numpy(np.array(inputs.corpus.tokens[[row]]).astype(np.int64))
        with torch.no_grad():
            base, chat = (inputs.series.open(index)(tokens).logits[0, position].log_softmax(-1) for index in (0, 1))
        following = int(tokens[0, position + 1])
        assert divergence.kl[place] == pytest.approx(float((chat.exp() * (chat - base)).sum()), abs=1e-4)
        assert divergence.ce_base[place] == pytest.approx(-float(base[following]), abs=1e-4)
        assert divergence.ce_chat[place] == pytest.approx(-float(chat[following]), abs=1e-4)
        assert divergence.chat_says[place] == int(chat.argmax()) and divergence.base_says[place] == int(base.argmax())
    assert (divergence.kl > -1e-6).all()


def test_groups_average_their_tokens_and_examples_are_the_largest(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    inputs.corpus.masks["assistant"][:, 3:] = True
    divergence = compare_predictions(inputs, CONFIG, both(inputs))
    rows = {row["group"]: row for row in group_divergence(divergence, inputs.corpus, CONFIG)}
    assert rows["all"]["kl"] == pytest.approx(divergence.kl.mean())
    assert rows["all"]["kl_se"] is not None and rows["all"]["n"] == len(divergence.kl)
    answered = np.asarray(inputs.corpus.masks["assistant"][divergence.row, divergence.position + 1])
    early = rows["answer/first 2"]
    assert early["n"] + rows["answer/rest"]["n"] == answered.sum()  # type: ignore[operator]
    first = divergence.position + 1 < 5
    assert early["kl"] == pytest.approx(divergence.kl[answered & first].mean())
    examples = find_examples(divergence, inputs.corpus, 4)
    assert divergence.kl[examples[0]] == divergence.kl.max()
    documents = inputs.corpus.document[divergence.row[examples], divergence.position[examples]]
    assert len(set(documents.tolist())) == len(examples)


def test_the_whole_comparison_of_two_models(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path)
    result = answer(BASE_CHAT, inputs, CONFIG, tmp_path / "result")
    assert (result.summary["base"], result.summary["chat"]) == ("step0", "step8")
    assert result.table("kl").rows()[0]["kl"] == pytest.approx(result.summary["kl"])
    assert len(result.table("kl_examples").rows()) == 4
    example = result.table("kl_examples").rows()[0]
    assert f"«{example['token']}»" in example["context"]
    tokens = result.table("mean_difference_tokens").rows()
    assert {row["side"] for row in tokens} == {"top", "bottom"}
    assert [row["component"] for row in result.table("difference_pca").rows()] == [0, 1]
    assert len(result.table("difference_pca_tokens").rows()) == 2 * 2 * 3
    assert len(result.summary["missing"]) == 1
    again = answer(BASE_CHAT, dataclasses.replace(inputs), CONFIG, tmp_path / "again")
    assert again.summary == result.summary
