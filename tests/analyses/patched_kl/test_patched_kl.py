"""KL under patches, against forward passes by hand; sets of latents; groups of tokens; what is resumed and refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from analyses.planted import DECOUPLED, FIRST_ONLY, ONLY, SHARED, SHRUNK, answer, planted_inputs
from analyses.tiny_run import NAMES, tiny_inputs
from interventions.tiny_series import tiny_corpus
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.patched_kl import PATCHED_KL, PatchedKLConfig
from ontogeny.analyses.patched_kl import measure as measuring
from ontogeny.analyses.patched_kl.config import LatentSetConfig
from ontogeny.analyses.patched_kl.sets import LatentSet, choose_sets, pair_of, rank_latents
from ontogeny.analyses.patched_kl.tokens import part_rows
from ontogeny.errors import AnalysisError, HookPointError
from ontogeny.interventions.sources import source_positions
from ontogeny.interventions.splice import predicted_positions
from ontogeny.latents.passes import run_pass
from ontogeny.results import Result

HALVED = LatentSetConfig(of="top", share=1.0, halves=["delta_norm", "size"])
CONFIG = PatchedKLConfig(
    sets=[LatentSetConfig(of="all"), HALVED],
    forms=["replace", "add", "revert"],
    tokens=10_000,
    random_seeds=2,
    draws=50,
    model_batch=3,
    min_gap=1e-6,
)


def chat_masks(inputs: AnalysisInputs) -> None:
    """Positions 2 and 3 are the template's, 4 and 5 the user's, the rest an answer."""
    column, real = np.arange(inputs.corpus.context_length), inputs.corpus.document >= 0
    for name, member in (("control", (column >= 2) & (column < 4)), ("user", (column >= 4) & (column < 6))):
        inputs.corpus.masks[name] |= member & real
    inputs.corpus.masks["assistant"] |= (column >= 6) & real


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> AnalysisInputs:
    made = tiny_inputs(tmp_path_factory.mktemp("patched"))
    chat_masks(made)
    return made


@pytest.fixture(scope="module")
def result(inputs: AnalysisInputs, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return answer(PATCHED_KL, inputs, CONFIG, tmp_path_factory.mktemp("result"))


class ByHand:
    """KL(chat || model with a hidden state put in) per prediction of the measured rows, in one batch."""

    def __init__(self, inputs: AnalysisInputs) -> None:
        self.corpus = inputs.corpus
        self.rows = inputs.corpus.rows("held_out")[::2]
        self.models = [inputs.series.open(index) for index in (0, 1)]
        self.tokens = torch.from_numpy(np.array(self.corpus.tokens[self.rows])).long()
        self.mask = torch.from_numpy(self.corpus.document[self.rows] >= 0).long()
        self.keep = torch.from_numpy(np.ascontiguousarray(self.corpus.keep[self.rows]))
        self.point = inputs.sources[0].hook_point
        with torch.no_grad():
            outs = [model.forward(self.tokens, self.mask, read=[self.point]) for model in self.models]
        self.hidden = [out.activations[self.point] for out in outs]
        self.logits = [out.logits for out in outs]
        self.predicted = torch.from_numpy(predicted_positions(self.corpus, self.rows))
        stored = inputs.held_out.read(self.rows)[self.keep]
        reads = source_positions(inputs.held_out.sources, inputs.dictionary.sources_in)
        with torch.no_grad():
            self.codes = inputs.dictionary.encode(stored[:, reads]).dense()
        self.dictionary = inputs.dictionary

    def contribution(self, source: int, latents: list[int]) -> torch.Tensor:
        scale = self.dictionary.scale_out[source]
        return self.codes[:, latents] @ self.dictionary.W_dec[latents, source].detach() / scale

    def kl(self, start: int, change: torch.Tensor | None, runs_in: int = 1) -> torch.Tensor:
        hidden = self.hidden[start].clone()
        if change is not None:
            hidden[self.keep] += change
        with torch.no_grad():
            logits = self.models[runs_in].run_from(1, hidden, self.mask)
        p, q = (each[self.predicted].log_softmax(-1) for each in (self.logits[1], logits))
        return (p.exp() * (p - q)).sum(-1)


def rows_of(result: Result, table: str, **wanted: object) -> list[dict[str, object]]:
    return [row for row in result.table(table).rows() if all(row[key] == value for key, value in wanted.items())]


def test_baselines_are_forward_passes_by_hand(inputs: AnalysisInputs, result: Result) -> None:
    hand = ByHand(inputs)
    every = list(range(inputs.dictionary.n_latents))
    moved = hand.contribution(1, every) - hand.contribution(0, every)
    expected = {
        "base model": hand.kl(0, None, runs_in=0),
        "base activation": hand.kl(0, None),
        "chat activation in base": hand.kl(1, None, runs_in=0),
        "all latents": hand.kl(0, moved),
        "all latents reverted": hand.kl(1, -moved),
    }
    for name, kl in expected.items():
        (row,) = rows_of(result, "baselines", patch=name, group="all")
        assert row["kl"] == pytest.approx(float(kl.mean()), abs=1e-5), name
        assert row["n"] == len(kl) == result.summary["n_predictions"]
        assert row["closed"] == pytest.approx(1 - float(kl.sum() / expected["base model"].sum()), abs=1e-4)
        patched = float(kl.sum() / expected["base activation"].sum())
        assert row["closed_patched"] == pytest.approx(1 - patched, abs=1e-4)


def test_sets_are_forward_passes_by_hand_in_every_form(inputs: AnalysisInputs, result: Result) -> None:
    hand, pair = ByHand(inputs), pair_of(inputs, CONFIG)
    rider = PATCHED_KL.ride(inputs, CONFIG)  # type: ignore[misc]
    run_pass(inputs.dictionary, inputs.held_out, {"rider": rider}, codes=inputs.codes)
    sets = choose_sets(rank_latents(rider.compute(), inputs.dictionary, pair, CONFIG), CONFIG)  # type: ignore[arg-type]
    halves = {(each.half, each.by, each.seed): each for each in sets if each.name == "top 100%"}
    assert len(halves) == 1 + 4 + 2
    for (half, by, seed), each in halves.items():
        latents = list(each.latents)
        base, chat = hand.contribution(0, latents), hand.contribution(1, latents)
        for form, kl in (
            ("replace", hand.kl(0, chat - base)),
            ("add", hand.kl(0, chat)),
            ("revert", hand.kl(1, base - chat)),
        ):
            (row,) = rows_of(result, "sets", set="top 100%", half=half, by=by, seed=seed, form=form, group="all")
            assert row["n_latents"] == len(latents)
            assert row["kl"] == pytest.approx(float(kl.mean()), abs=1e-5), (half, by, seed, form)


def test_halves_part_the_set_and_contrasts_compare_them(result: Result) -> None:
    best, worst = (
        rows_of(result, "sets", half=half, by="size", form="replace", group="all")[0] for half in ("best", "worst")
    )
    (whole,) = rows_of(result, "sets", set="top 100%", half="whole", form="replace", group="all")
    assert best["n_latents"] == worst["n_latents"] == whole["n_latents"] // 2  # type: ignore[operator]
    (row,) = rows_of(result, "contrasts", by="size", form="replace", group="all", versus="worst")
    assert row["difference"] == pytest.approx(best["closed"] - worst["closed"])  # type: ignore[operator]
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]  # type: ignore[operator]
    random = rows_of(result, "sets", half="random", form="replace", group="all")
    (row,) = rows_of(result, "contrasts", by="size", form="replace", group="all", versus="random")
    mean = np.mean([each["closed"] for each in random])  # type: ignore[misc]
    assert row["difference"] == pytest.approx(best["closed"] - mean)


def test_groups_are_of_the_predicted_tokens(inputs: AnalysisInputs, result: Result) -> None:
    assert result.summary["groups"] == [
        "all", "mask/control", "mask/user", "mask/assistant", "answer/first 9",
    ]  # fmt: skip
    hand = ByHand(inputs)
    kl = hand.kl(0, None)
    row, position = hand.predicted.nonzero().T
    for name, mask in (("mask/control", "control"), ("mask/assistant", "assistant")):
        member = torch.from_numpy(inputs.corpus.masks[mask][hand.rows[row], position + 1])
        (found,) = rows_of(result, "baselines", patch="base activation", group=name)
        assert found["n"] == int(member.sum()) and found["kl"] == pytest.approx(float(kl[member].mean()), abs=1e-5)


def test_the_sweep_meets_the_baselines_at_the_dictionarys_layer(inputs: AnalysisInputs, result: Result) -> None:
    assert {row["layer"] for row in result.table("sweep").rows()} == {0, 1}
    for patch in ("base activation", "mean difference", "template tokens", "chat activation in base"):
        (swept,) = rows_of(result, "sweep", patch=patch, layer=0, group="all")
        (base,) = rows_of(result, "baselines", patch=patch, group="all")
        assert all(swept[name] == base[name] for name in ("kl", "kl_se", "closed", "closed_patched"))
    for row in rows_of(result, "sweep", patch="base activation"):
        assert row["closed_patched"] == 0.0, "of base's activation at the same layer"
    # After the last block only the final norm and unembedding are chat's own.
    (last,) = rows_of(result, "sweep", patch="base activation", layer=1, group="all")
    hand = ByHand(inputs)
    with torch.no_grad():
        hidden = hand.models[0].forward(hand.tokens, hand.mask, read=["resid_post.1"]).activations["resid_post.1"]
        q = hand.models[1].unembed(hidden)[hand.predicted].log_softmax(-1)
    p = hand.logits[1][hand.predicted].log_softmax(-1)
    assert last["kl"] == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), abs=1e-5)


def test_errors_are_over_documents(inputs: AnalysisInputs, result: Result) -> None:
    hand = ByHand(inputs)
    kl, (row, _) = hand.kl(0, None), hand.predicted.nonzero().T
    sums = np.array([float(kl[row == each].sum()) for each in range(len(hand.rows))])
    sizes = np.array([int((row == each).sum()) for each in range(len(hand.rows))])
    n, mean = len(sums), sums.sum() / sizes.sum()
    expected = np.sqrt(n / (n - 1) * np.square(sums - mean * sizes).sum()) / sizes.sum()
    (found,) = rows_of(result, "baselines", patch="base activation", group="all")
    assert found["kl_se"] == pytest.approx(expected, rel=1e-4) and found["n_documents"] == n


def test_plain_text_has_one_group_and_says_what_is_missing(tmp_path: Path) -> None:
    plain = tiny_inputs(tmp_path, n_rows=9)
    config = CONFIG.model_copy(update={"sets": [LatentSetConfig(of="base-only")], "sweep": []})
    found = answer(PATCHED_KL, plain, config, tmp_path / "result")
    assert found.summary["groups"] == ["all"] and not found.table("sweep").rows()
    assert "template tokens" not in {row["patch"] for row in found.table("baselines").rows()}
    assert any("no chat masks" in each for each in found.summary["missing"])
    for group in ("template", "user", "answer"):
        asked = config.model_copy(update={"groups": ["all", group]})
        with pytest.raises(AnalysisError, match=f"asks for '{group}'.*chat = true"):
            answer(PATCHED_KL, dataclasses.replace(plain), asked, tmp_path / group)


def test_a_run_that_was_cut_off_goes_on_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    inputs = tiny_inputs(tmp_path)
    chat_masks(inputs)
    whole, calls = measuring.PatchRunner._measure_block, []

    def fail(self: measuring.PatchRunner, patches: object, tokens: object, index: int) -> dict[str, np.ndarray]:
        calls.append(index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, patches, tokens, index)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring.PatchRunner, "_measure_block", fail)
    with pytest.raises(KeyboardInterrupt):
        answer(PATCHED_KL, inputs, CONFIG, tmp_path / "killed")
    (inputs.scratch / "blocks" / "000009.0123456789ab.safetensors").write_bytes(b"of another config")
    again = answer(PATCHED_KL, inputs, CONFIG, tmp_path / "again")
    assert calls == [0, 1, 2, 2, 3], "finished blocks are not run again"
    for table in ("baselines", "sets", "contrasts", "sweep"):
        assert again.table(table).rows() == result.table(table).rows()
    assert again.summary == result.summary


def planted_sets(folder: Path, *asked: LatentSetConfig) -> dict[str, LatentSet]:
    inputs = planted_inputs(folder)
    config = PatchedKLConfig(sets=list(asked), random_seeds=5)
    rider = PATCHED_KL.ride(inputs, config)  # type: ignore[misc]
    run_pass(inputs.dictionary, inputs.held_out, {"rider": rider}, codes=inputs.codes)
    rankings = rank_latents(rider.compute(), inputs.dictionary, pair_of(inputs, config), config)  # type: ignore[arg-type]
    return {f"{each.name}/{each.half}/{each.by}/{each.seed}": each for each in choose_sets(rankings, config)}


def test_sets_and_rankings_find_what_was_planted(tmp_path: Path) -> None:
    kinds = ("all", "chat-only", "base-only", "shared", "confirmed")
    sets = planted_sets(
        tmp_path,
        *(LatentSetConfig(of=kind) for kind in kinds),
        LatentSetConfig(of="top", count=2, halves=["nu"]),
        LatentSetConfig(of="chat-only", halves=["nu", "size"]),
    )
    assert sets["chat-only/whole/None/None"].latents == (ONLY, SHRUNK, DECOUPLED)
    assert sets["base-only/whole/None/None"].latents == (FIRST_ONLY,)
    assert sets["confirmed/whole/None/None"].latents == (ONLY,)
    assert SHARED in sets["shared/whole/None/None"].latents
    assert len(sets["all/whole/None/None"].latents) == 8 and len(sets["top 2/whole/None/None"].latents) == 2
    assert sets["chat-only/best/nu/None"].latents == (ONLY,), "what latent scaling confirms ranks first"
    assert len({sets[f"chat-only/random/None/{seed}"].latents for seed in range(5)}) > 1


def test_what_is_measured_is_not_what_means_are_taken_from() -> None:
    corpus = tiny_corpus(7)
    measured, fitted = part_rows(corpus)
    assert measured.tolist() == [0, 2, 4, 6] and fitted.tolist() == [1, 3, 5]
    corpus.held_out[1:] = False
    assert [each.tolist() for each in part_rows(corpus)] == [[0], [0]]


def test_any_two_snapshots_of_a_longer_series(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path, ("step0", "step1", "step2"))
    assert (pair_of(inputs, PatchedKLConfig()).base, pair_of(inputs, PatchedKLConfig()).chat) == (0, 2)
    named = pair_of(inputs, PatchedKLConfig(base="step2", chat="step1"))
    assert (named.base, named.chat) == (2, 1)


def test_what_cannot_be_is_refused(inputs: AnalysisInputs, tmp_path: Path) -> None:
    assert PATCHED_KL.ride is not None
    with pytest.raises(AnalysisError, match=f"patched_kl.chat = 'step9' is no source.*{NAMES[0]}, {NAMES[1]}"):
        PATCHED_KL.ride(inputs, CONFIG.model_copy(update={"chat": "step9"}))
    with pytest.raises(AnalysisError, match=r"patched_kl compares two sources.*one \(only\)"):
        PATCHED_KL.ride(planted_inputs(tmp_path, ("only",)), CONFIG)
    with pytest.raises(HookPointError, match=r"resid_post\.7"):
        answer(PATCHED_KL, dataclasses.replace(inputs), CONFIG.model_copy(update={"sweep": [7]}), tmp_path / "sweep")
    for wrong in ({"of": "top"}, {"of": "top", "count": 3, "share": 0.1}, {"of": "shared", "count": 3}):
        with pytest.raises(ValidationError, match="exactly one of count and share"):
            LatentSetConfig.model_validate(wrong)
