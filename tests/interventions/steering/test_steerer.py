"""Steered text against forwards written out by hand: every token anew, no cache, the change added in plain sight."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken
from torch import Tensor

from interventions.steering.tiny_steerer import POINT, PROMPT, ask, make_dictionary, make_steerer, save_series
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import ConfigError, CorpusError, DictionaryError, HookPointError
from ontogeny.interventions.steering.config import SteeringRequest
from ontogeny.interventions.steering.markdown import render_markdown
from ontogeny.interventions.steering.record import SteeringRecord, TokenRecord
from ontogeny.interventions.steering.steerer import Steerer
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.config import CorpusConfig
from ontogeny.tokens.vocabulary import closed_tokenizer
from ontogeny.types import HookPoint, Playground
from snapshots.tiny_models import CONFIGS, VOCABULARY, build_model

PLACE = HookPoint.parse(POINT)
Change = Callable[[Tensor, dict[str, Tensor]], Tensor]
"""(activation so far [position d_model], untouched activations per snapshot) -> the changed one."""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return save_series(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def models(series: SnapshotSeries) -> dict[str, HookedModel]:
    return {label: series.open(index) for index, label in enumerate(series.labels)}


def prompt_of(steerer: Steerer, request: SteeringRequest) -> list[int]:
    return [*steerer.bos, *steerer.series.tokenizer(request.prompt, add_special_tokens=False)["input_ids"]]


@torch.no_grad()
def write_by_hand(
    models: dict[str, HookedModel], label: str, prompt: list[int], change: Change, n_tokens: int
) -> tuple[list[int], list[float]]:
    """Greedy tokens under a change, and KL(untouched || changed) where each of them was predicted."""
    tokens, divergences = list(prompt), []
    for _ in range(n_tokens):
        row = torch.tensor([tokens])
        clean = {name: model.read(row, [PLACE])[PLACE][0] for name, model in models.items()}
        model = models[label]
        moved = model.forward(row, replace={PLACE: lambda value, clean=clean: change(value[0], clean)[None]}).logits
        log_p, log_q = (each[0, -1].double().log_softmax(0) for each in (model.forward(row).logits, moved))
        divergences.append(float((log_p.exp() * (log_p - log_q)).sum()))
        tokens.append(int(log_q.argmax()))
    return tokens[len(prompt) :], divergences


def generated(record: SteeringRecord, kind: Any = "steered", sample: int = 0) -> list[TokenRecord]:
    return [each for each in record.passage(kind, sample) if each.generated]


def check_by_hand(steerer: Steerer, models: dict[str, HookedModel], request: SteeringRequest, change: Change) -> None:
    record, prompt = steerer.steer(request), prompt_of(steerer, request)
    tokens, divergences = write_by_hand(models, request.snapshot, prompt, change, request.sampling.max_tokens)
    found = generated(record)
    assert [each.token for each in found] == tokens[: len(found)]
    assert len(found) == len(tokens) or found[-1].token == 0
    for each, expected in zip(found, divergences, strict=False):
        assert each.kl == pytest.approx(expected, rel=2e-3, abs=1e-5)
    assert max(divergences) > 0.01, "the change does nothing, so nothing was tested"


def encode(steerer: Steerer, clean: dict[str, Tensor]) -> Codes:
    return steerer.dictionary.encode(torch.stack([clean[name] for name in steerer.dictionary.sources_in], 1)).sparse()


def direction(steerer: Steerer, source: int, latent: int) -> Tensor:
    return (steerer.dictionary.W_dec[latent, source] / steerer.dictionary.scale_out[source]).detach()


# ---- every architecture, one source ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_untouched_text_is_what_transformers_writes_and_no_change_is_none(name: str, tmp_path: Path) -> None:
    steerer = make_steerer(save_series(tmp_path, name, ["step8"]))
    record = steerer.steer(ask("step8", {"kind": "scale", "factor": 1}, control=True))
    prompt = torch.tensor([prompt_of(steerer, record.request)])
    module: Any = steerer.series.open(0).module
    written = module.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=6,
        eos_token_id=0,
        pad_token_id=0,
    )[0, prompt.shape[1] :].tolist()
    assert [each.token for each in generated(record, "baseline")] == written
    assert [each.token for each in generated(record)] == written
    assert all(each.kl == 0 and each.kl_control == 0 for each in generated(record))


@pytest.mark.parametrize("name", CONFIGS)
def test_an_added_latent_is_its_direction_added(name: str, tmp_path: Path) -> None:
    series = save_series(tmp_path, name, ["step8"])
    steerer = make_steerer(series)

    def add(value: Tensor, _: dict[str, Tensor]) -> Tensor:
        moved = value + 9 * direction(steerer, 0, 5)
        return torch.cat([value[: steerer.skip_first], moved[steerer.skip_first :]])

    request = ask("step8", {"kind": "add", "latents": [5], "strength": 9})
    check_by_hand(steerer, {"step8": series.open(0)}, request, add)


# ---- two snapshots ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["shared", "per_source"])
def test_a_set_latent_has_its_code_on_every_token(
    series: SnapshotSeries, models: dict[str, HookedModel], gate: str
) -> None:
    steerer = make_steerer(series, activation={"kind": "batchtopk", "k": 4}, gate=gate)
    steerer.dictionary.activation.threshold.fill_(0.5)

    def set_code(value: Tensor, clean: dict[str, Tensor]) -> Tensor:
        codes = encode(steerer, clean).dense(1)[:, 7]
        moved = value + (12 - codes)[:, None] * direction(steerer, 1, 7)
        return torch.cat([value[:1], moved[1:]])

    check_by_hand(steerer, models, ask("step8", {"kind": "set", "latents": [7], "strength": 12}), set_code)


def test_edits_wait_for_generated_tokens(series: SnapshotSeries, models: dict[str, HookedModel]) -> None:
    steerer = make_steerer(series)
    request = ask("step0", {"kind": "add", "latents": [2], "strength": 20, "on": "generated"})
    n_prompt = len(prompt_of(steerer, request))

    def add(value: Tensor, _: dict[str, Tensor]) -> Tensor:
        return torch.cat([value[:n_prompt], value[n_prompt:] + 20 * direction(steerer, 0, 2)])

    check_by_hand(steerer, models, request, add)
    first = generated(steerer.steer(request))[0]
    assert first.kl == 0


def test_edits_stop_after_the_prompt(series: SnapshotSeries, models: dict[str, HookedModel]) -> None:
    steerer = make_steerer(series)
    request = ask("step0", {"kind": "add", "latents": [2], "strength": -30, "on": "prompt"})
    n_prompt = len(prompt_of(steerer, request))

    def add(value: Tensor, _: dict[str, Tensor]) -> Tensor:
        moved = value - 30 * direction(steerer, 0, 2)
        return torch.cat([value[:1], moved[1:n_prompt], value[n_prompt:]])

    check_by_hand(steerer, models, request, add)


def test_reconstruction_and_error_of_another_snapshot_are_its_activation(
    series: SnapshotSeries, models: dict[str, HookedModel]
) -> None:
    steerer = make_steerer(series)

    def take(value: Tensor, clean: dict[str, Tensor]) -> Tensor:
        return torch.cat([value[:1], clean["step0"][1:]])

    request = ask("step8", {"kind": "replace_reconstruction", "by": "step0"}, {"kind": "replace_error", "by": "step0"})
    check_by_hand(steerer, models, request, take)


def test_latents_removed_scaled_and_replaced(series: SnapshotSeries, models: dict[str, HookedModel]) -> None:
    steerer = make_steerer(series)

    def change(value: Tensor, clean: dict[str, Tensor]) -> Tensor:
        codes = encode(steerer, clean).dense()
        raw = [steerer.dictionary.W_dec[:, source] / steerer.dictionary.scale_out[source] for source in (0, 1)]
        moved = value - codes @ raw[1]
        moved = moved + 3 * codes[:, :12] @ raw[1][:12]
        moved = moved + codes[:, [4]] @ (raw[0] - raw[1])[[4]]
        return torch.cat([value[:1], moved[1:].detach()])

    request = ask(
        "step8",
        {"kind": "remove"},
        {"kind": "scale", "factor": 4, "latents": list(range(12))},
        {"kind": "replace_latents", "by": "step0", "latents": [4]},
    )
    check_by_hand(steerer, models, request, change)


def test_a_code_set_to_what_it_is_changes_nothing(series: SnapshotSeries) -> None:
    steerer = make_steerer(series, activation={"kind": "relu"})
    with torch.no_grad():
        steerer.dictionary.W_enc[3] = 0
        steerer.dictionary.b_enc[3] = 2.5
    record = steerer.steer(ask("step8", {"kind": "set", "latents": [3], "strength": 2.5}))
    assert all(each.codes == () or each.codes[0] == 2.5 for each in record.tokens)
    assert [each.token for each in generated(record)] == [each.token for each in generated(record, "baseline")]
    assert all(each.kl is not None and each.kl < 1e-6 for each in generated(record))


def test_folded_scales_steer_alike(series: SnapshotSeries) -> None:
    steerer = make_steerer(series)
    folded = Steerer(series, steerer.dictionary.fold_scales(), [POINT])
    request = ask("step8", {"kind": "set", "latents": [1, 6], "strength": 7}, {"kind": "scale", "factor": 0.5})
    first, second = (each.steer(request) for each in (steerer, folded))
    assert first.text("steered") == second.text("steered")
    for one, other in zip(generated(first), generated(second), strict=True):
        assert one.kl == pytest.approx(other.kl, rel=1e-3, abs=1e-6)
        assert one.codes == pytest.approx(other.codes, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_lower_half_under_an_upper_one(series: SnapshotSeries, models: dict[str, HookedModel], layer: int) -> None:
    """Also with an edit at resid_post.1: below the cut at 2, where step0's latents are meant, above the cut at 1."""
    steerer = make_steerer(series)
    lower, upper = models["step0"], models["step8"]
    source = 0 if layer == 2 else 1
    request = ask(
        "step8",
        {"kind": "lower_half", "snapshot": "step0", "layer": layer},
        {"kind": "add", "latents": [8], "strength": 6},
    )
    tokens, cut = prompt_of(steerer, request), HookPoint("resid_pre", layer)

    def add(value: Tensor) -> Tensor:
        moved = value + 6 * direction(steerer, source, 8)
        return torch.cat([value[:, :1], moved[:, 1:]], dim=1)

    written = []
    with torch.no_grad():
        for _ in range(6):
            row = torch.tensor([tokens])
            if layer == 2:
                hidden = add(lower.read(row, [cut])[cut])
                logits = upper.run_from(layer, hidden)
            else:
                hidden = lower.read(row, [cut])[cut]
                logits = upper.run_from(layer, hidden, replace={PLACE: add})
            written.append(int(logits[0, -1].argmax()))
            tokens.append(written[-1])
    found = [each.token for each in generated(steerer.steer(request))]
    assert found == written[: len(found)]


# ---- what is written down --------------------------------------------------------------------------------------------


def test_monitored_latents_are_the_codes_of_the_text(series: SnapshotSeries, models: dict[str, HookedModel]) -> None:
    steerer = make_steerer(series)
    record = steerer.steer(ask("step8", {"kind": "add", "latents": [5], "strength": 9}, monitor=[5, 0, 11]))
    tokens = torch.tensor([[each.token for each in record.passage("steered")]])
    with torch.no_grad():
        x = torch.stack([models[name].read(tokens, [PLACE])[PLACE][0] for name in series.labels], dim=1)
        codes = steerer.dictionary.encode(x).sparse()
        norms = steerer.dictionary.decoder_norms()
        dots = torch.einsum("tsd,jsd->tjs", steerer.dictionary.normalise(x), steerer.dictionary.W_enc)
    seen = record.passage("steered")[steerer.skip_first :]
    assert record.passage("steered")[0].codes == ()
    found = torch.tensor([each.codes for each in seen])
    torch.testing.assert_close(found, codes.dense()[1:, [5, 0, 11]].detach(), atol=1e-4, rtol=1e-4)
    evidence = torch.tensor([each.evidence for each in seen])
    torch.testing.assert_close(evidence, (dots * norms)[1:, [5, 0, 11]].detach(), atol=1e-4, rtol=1e-4)
    contributions = torch.tensor([each.contributions for each in seen])
    expected = codes.dense()[1:, [5, 0, 11], None] * norms[[5, 0, 11]]
    torch.testing.assert_close(contributions, expected.detach(), atol=1e-4, rtol=1e-4)


def test_codes_from_some_snapshots_alone(series: SnapshotSeries, models: dict[str, HookedModel]) -> None:
    steerer = make_steerer(series)
    record = steerer.steer(ask("step8", monitor=list(range(24)), read=["step8"]))
    tokens = torch.tensor([[each.token for each in record.passage("baseline")]])
    dictionary = steerer.dictionary
    with torch.no_grad():
        own = models["step8"].read(tokens, [PLACE])[PLACE][0]
        resting = (dictionary.b_dec[0] / dictionary.scale_out[0] + dictionary.centre_out[0]).expand_as(own)
        expected = dictionary.encode(torch.stack([resting, own], dim=1)).sparse().dense()[1:]
    found = torch.tensor([each.codes for each in record.passage("baseline")[1:]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_models_that_nothing_asks_for_stay_closed(series: SnapshotSeries) -> None:
    steerer = make_steerer(series)
    plan = steerer.make_plan(ask("step8", {"kind": "add", "latents": [5], "strength": 9}, monitor=[5]))
    assert plan.labels == ["step8", "step0"]
    plan = steerer.make_plan(ask("step8", {"kind": "lower_half", "snapshot": "step8", "layer": 1}))
    assert plan.labels == ["step8"] and not plan.needs_codes


def test_kept_keys_and_values_change_nothing(series: SnapshotSeries) -> None:
    request = ask(
        "step8",
        {"kind": "set", "latents": [7], "strength": 5},
        {"kind": "lower_half", "snapshot": "step0", "layer": 1},
        control=True,
        sampling={"temperature": 1, "samples": 2},
    )
    steerer = make_steerer(series)
    fast = steerer.steer(request)
    steerer.cached = False
    slow = steerer.steer(request)
    assert fast.texts == slow.texts
    for one, other in zip(fast.tokens, slow.tokens, strict=True):
        assert (one.kl or 0) == pytest.approx(other.kl or 0, rel=1e-3, abs=1e-6)
        assert one.probability is None or one.probability == pytest.approx(other.probability, rel=1e-3)


def test_several_hook_points_are_changed_alike_or_one_alone(series: SnapshotSeries) -> None:
    steerer = make_steerer(series, points=["resid_post.0", "resid_post.1"])
    everywhere = steerer.make_plan(ask("step8", {"kind": "add", "latents": [1], "strength": 3}))
    assert [str(point) for point in everywhere.edits] == ["resid_post.0", "resid_post.1"]
    one = {"kind": "add", "latents": [1], "strength": 3, "hook_point": "resid_post.0"}
    assert [str(point) for point in steerer.make_plan(ask("step8", one)).edits] == ["resid_post.0"]
    assert steerer.steer(ask("step8", one)).divergences()[0].mean > 0


def test_a_hook_point_without_the_snapshot_is_named(series: SnapshotSeries) -> None:
    names = [f"{label}:resid_post.0" for label in series.labels] + ["step8:resid_post.1"]
    steerer = Steerer(series, make_dictionary(names), ["resid_post.0", "resid_post.1"])
    change = {"kind": "remove", "latents": [1], "hook_point": "resid_post.1"}
    assert [str(point) for point in steerer.make_plan(ask("step8", change)).edits] == ["resid_post.1"]
    with pytest.raises(HookPointError, match=r"no source of step0 at hook point resid_post\.1"):
        steerer.make_plan(ask("step0", change))
    everywhere = steerer.make_plan(ask("step0", {"kind": "remove", "latents": [1]}))
    assert [str(point) for point in everywhere.edits] == ["resid_post.0"]


def test_a_prompt_is_a_users_turn_where_asked(tmp_path: Path) -> None:
    steerer = make_steerer(save_series(tmp_path))
    add = {"kind": "add", "latents": [1], "strength": 3}
    with pytest.raises(CorpusError, match="no chat template"):
        steerer.steer(ask("step8", add, chat=True))
    template = "{{ bos_token }} {% for m in messages %}w1 {{ m.content }} w2 {% endfor %}"
    steerer.series.tokenizer.chat_template = template + "{% if add_generation_prompt %}w3{% endif %}"
    plain, turn = (steerer.steer(ask("step8", add, chat=chat)) for chat in (False, True))
    begins, *prompt = [each.token for each in plain.passage("steered") if not each.generated]
    read = [each.token for each in turn.passage("steered") if not each.generated]
    # w1 has id 2; of two BOS, the template's own is the one that goes.
    assert read == [begins, 2, *prompt, 3, 4]
    # What the dictionary's own conversations were given comes before the tokenizer's.
    source = {"kind": "files", "path": "talks.jsonl", "chat": True, "template": "{{ messages[0].content }} w9"}
    steerer.corpus = CorpusConfig.model_validate({"sources": [source]})
    record = steerer.steer(ask("step8", add, chat=True))
    assert [each.token for each in record.passage("steered") if not each.generated] == [begins, *prompt, 10]
    assert "user's turn" in render_markdown(record) and "user's turn" not in render_markdown(plain)


def test_an_answer_ends_with_its_turn(series: SnapshotSeries, tmp_path: Path) -> None:
    steerer = make_steerer(series)
    first = generated(steerer.steer(ask("step8")), "baseline")[0]
    word = steerer.series.tokenizer.convert_ids_to_tokens(first.token)
    own = make_steerer(save_series(tmp_path))
    own.series.tokenizer.add_tokens([AddedToken(word, special=True)])
    own.series.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}" + (
        f" {word}{{% endif %}}{{% endfor %}}"
    )
    record = own.steer(ask("step8", chat=True))
    assert record.texts[0].ended == "end of turn" and len(generated(record, "baseline")) == 1


def test_the_same_seed_writes_the_same_and_samples_differ(series: SnapshotSeries) -> None:
    steerer = make_steerer(series)
    request = ask("step8", {"kind": "scale", "factor": 1}, sampling={"temperature": 1, "samples": 3, "max_tokens": 8})
    record = steerer.steer(request)
    assert record == steerer.steer(request)
    for sample in range(3):
        assert record.text("steered", sample) == record.text("baseline", sample)
    assert len({record.text("baseline", sample) for sample in range(3)}) == 3


def test_an_iterator_that_is_dropped_leaves_what_there_was(series: SnapshotSeries) -> None:
    steerer, request = make_steerer(series), ask("step8", {"kind": "add", "latents": [1], "strength": 3})
    events = steerer.iter_tokens(request)
    some = [next(events) for _ in range(14)]
    events.close()
    record = steerer.gather(request, some)
    assert {each.ended for each in record.texts} == {"stopped"} and len(record.tokens) == 14


def test_events_are_json(series: SnapshotSeries) -> None:
    steerer, request = make_steerer(series), ask("step8", {"kind": "add", "latents": [1], "strength": 3})
    assert isinstance(steerer, Playground)
    events = list(steerer.iter_events(request.model_dump(mode="json")))
    assert json.loads(json.dumps(events)) == events
    assert {each["event"] for each in events} == {"token", "text"}
    with pytest.raises(ConfigError, match="interventions"):
        next(steerer.iter_events({"prompt": PROMPT, "snapshot": "step8", "intervention": []}))


def test_a_transcoder_is_steered_where_it_writes(series: SnapshotSeries, models: dict[str, HookedModel]) -> None:
    """Codes from what enters an MLP, changes at what it gives; no snapshot's own evidence is known there."""
    reads, writes = "resid_pre.1", "mlp_out.1"
    torch.manual_seed(0)
    names = [[f"{label}:{point}" for label in series.labels] for point in (reads, writes)]
    config = CrosscoderConfig.model_validate({"n_latents": 24, "activation": {"kind": "topk", "k": 6}})
    made = Crosscoder(config, names[0], names[1], d_model=32)
    with torch.no_grad():
        for weight in (made.W_enc, made.W_dec, made.b_dec):
            weight.normal_()
    made.set_scales(torch.tensor([0.7, 1.3]), scale_out=torch.tensor([2.0, 0.4]))
    steerer, place = Steerer(series, made.eval(), [reads, writes]), HookPoint.parse(writes)
    tokens = torch.tensor([prompt_of(steerer, ask())])
    with torch.no_grad():
        entering = HookPoint.parse(reads)
        x = torch.stack([models[label].read(tokens, [entering])[entering][0] for label in series.labels], dim=1)
        change = made.encode(x).sparse().dense() @ made.W_dec[:, 1] / made.scale_out[1]
        change[0] = 0
        logits = models["step8"].forward(tokens, replace={place: lambda value: value - 1.5 * change}).logits
    record = steerer.steer(ask("step8", {"kind": "scale", "factor": -0.5}, monitor=[0], sampling={"max_tokens": 1}))
    assert generated(record)[0].token == int(logits[0, -1].argmax())
    probability = float(logits[0, -1].softmax(0).max())
    assert generated(record)[0].probability == pytest.approx(probability, rel=1e-3)
    assert generated(record)[0].evidence == ((None, None),)


def test_models_in_half_precision(series: SnapshotSeries) -> None:
    steerer = Steerer(series, make_dictionary(series.labels), [POINT], dtype="bfloat16")
    record = steerer.steer(ask("step8", {"kind": "scale", "factor": 1}, control=True))
    assert all(each.kl == 0 for each in generated(record))


def test_a_base_model_reads_its_own_words_and_is_asked_for_no_others(tmp_path: Path) -> None:
    """The chat model has eleven tokens more: w95 is one, for which the base reads w3; the others are not drawn."""
    words = closed_tokenizer([f"w{number}" for number in range(VOCABULARY + 9)])
    words.save_pretrained(tmp_path / "tokenizer")
    for label, size in (("step0", VOCABULARY - 1), ("step8", VOCABULARY + 10)):
        torch.manual_seed(1)
        build_model("llama", vocab_size=size).save_pretrained(tmp_path / label)
    config = SeriesConfig(folders=str(tmp_path / "step*"), tokenizer=str(tmp_path / "tokenizer"))
    series, corpus = open_series(config), CorpusConfig(replacements={"step0": {"w95": "w3"}})
    steerer = Steerer(series, make_dictionary(series.labels), [POINT], corpus=corpus)
    rest = {"monitor": list(range(24)), "sampling": {"temperature": 5, "max_tokens": 40, "samples": 4}}
    record = steerer.steer(ask("step8", prompt="w95 w1", **rest))
    drawn = {each.token for each in record.tokens if each.generated}
    assert max(drawn) <= 96 and len(drawn) > 50
    tokens = torch.tensor([[each.token for each in record.passage("baseline")][:3]])
    with torch.no_grad():
        own = tokens.where(tokens != 96, torch.tensor(4))
        x = [series.open(i).read(row, [PLACE])[PLACE][0] for i, row in enumerate((own, tokens))]
        expected = steerer.dictionary.encode(torch.stack(x, dim=1)).sparse().dense()[1:]
    found = torch.tensor([each.codes for each in record.passage("baseline")[1:3]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_skip_connection_is_refused(series: SnapshotSeries) -> None:
    steerer = Steerer(series, make_dictionary(series.labels, skip=True), [POINT])
    with pytest.raises(DictionaryError, match="skip"):
        steerer.steer(ask("step8", {"kind": "remove"}))


def test_a_full_context_ends_a_text(tmp_path: Path) -> None:
    steerer = make_steerer(save_series(tmp_path, "llama", ["step8"]))
    prompt = " ".join(["w7"] * 60)
    request = ask("step8", prompt=prompt, sampling={"max_tokens": 50, "temperature": 1, "seed": 5})
    record = steerer.steer(request)
    assert record.texts[0].ended in ("context", "end of text") and len(record.passage("baseline")) <= 64
