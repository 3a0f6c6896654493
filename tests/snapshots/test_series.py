"""Series from local folders: order, selection, checks between snapshots, loading."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ontogeny.errors import HookPointError, RevisionNotFound, SeriesMismatch, SnapshotError
from ontogeny.snapshots.config import SeriesConfig, StepRange
from ontogeny.snapshots.load import load_model
from ontogeny.snapshots.selection import choose_steps
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.types import HookPoint
from snapshots.tiny_models import build_model

STEPS = (0, 1, 2, 4, 16, 1000)


def save_tokenizer(folder: Path, vocabulary: dict[str, int]) -> None:
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w2").save_pretrained(folder)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("family")
    for step in STEPS:
        torch.manual_seed(step)
        folder = root / f"step{step}"
        build_model("gpt_neox").half().save_pretrained(folder)
        save_tokenizer(folder, {f"w{i}": i for i in range(90)})
    return root


@pytest.fixture
def family(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "family"))


def series_of(**keys: object) -> SnapshotSeries:
    return open_series(SeriesConfig(**keys))


def test_folders_come_in_natural_order(original: Path) -> None:
    series = series_of(folders=f"{original}/step*")
    assert series.labels == [f"step{step}" for step in STEPS]
    assert series.steps == list(STEPS)
    assert (series.d_model, series.n_layers, len(series)) == (32, 3, 6)
    np.testing.assert_allclose(series.time, np.log2(1 + np.array(STEPS, dtype=float)))
    assert series.time_name == "log2(1 + step)"
    assert series[5].label == "step1000"


def test_folders_are_named_by_what_differs_in_their_paths(original: Path, tmp_path: Path) -> None:
    for run, step in (("a", 0), ("a", 16), ("b", 16)):
        (tmp_path / f"runs [x]/{run}/step{step}").mkdir(parents=True)
        (tmp_path / f"runs [x]/{run}/step{step}/hf").symlink_to(original / f"step{step}")
    one_run = series_of(folders=f"{tmp_path}/runs [x]/a/*/hf")
    assert (one_run.labels, one_run.steps) == (["step0", "step16"], [0, 16])
    assert series_of(folders=f"{tmp_path}/runs [x]/*/*/hf").labels == ["a-step0", "a-step16", "b-step16"]
    assert series_of(folders=f"{tmp_path}/runs [x]/a/step16/hf").labels == ["hf"]


def test_time_in_tokens(original: Path) -> None:
    series = series_of(folders=f"{original}/step*", tokens_per_step=512)
    assert series.time_name == "tokens"
    np.testing.assert_array_equal(series.time, 512.0 * np.array(STEPS))


def test_steps_and_subset(original: Path) -> None:
    assert series_of(folders=f"{original}/*", steps=[1, 1000]).labels == ["step1", "step1000"]
    assert series_of(folders=f"{original}/*", range={"count": 3}).steps == [0, 16, 1000]
    assert series_of(folders=f"{original}/*").subset(["step16", "step0"]).labels == ["step0", "step16"]
    with pytest.raises(SnapshotError, match="no snapshot 'step7'; it has step0, step1"):
        series_of(folders=f"{original}/*").subset(["step7"])
    with pytest.raises(RevisionNotFound, match=r"holds step 900; the nearest steps are 1, 2, 4, 16, 1000"):
        series_of(folders=f"{original}/*", steps=[900])
    with pytest.raises(SnapshotError, match="no model folder"):
        series_of(folders=f"{original}/nothing*")


def test_range_is_moved_to_what_exists() -> None:
    published = [0, *(2**i for i in range(10)), *range(1000, 144000, 1000)]
    chosen = choose_steps(StepRange(count=32), published)
    assert chosen[0] == 0 and chosen[-1] == 143000 and chosen == sorted(set(chosen))
    assert choose_steps(StepRange(count=3, spacing="linear"), published) == [0, 71000, 143000]
    assert choose_steps(StepRange(first=3, last=600, count=2), published) == [4, 512]


def test_float16_snapshot_computes_in_float32(original: Path) -> None:
    model = series_of(folders=f"{original}/step*").open(5)
    torch.manual_seed(1000)
    expected = build_model("gpt_neox").half().float()
    tokens = torch.arange(3, 13)[None]
    assert model.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(model.forward(tokens).logits, expected(tokens).logits)
    with pytest.raises(SnapshotError, match="float16 loses too much on the cpu"):
        load_model(str(original / "step0"), dtype="float16")
    assert load_model(str(original / "step0"), dtype="bfloat16").dtype == torch.bfloat16


def test_base_and_chat_may_differ_by_added_tokens(family: Path) -> None:
    save_tokenizer(family / "step1000", {f"w{i}": i for i in range(90)} | {"<|user|>": 90})
    series = series_of(base=str(family / "step0"), chat=str(family / "step1000"))
    assert series.labels == ["base", "chat"]
    assert series.time_name == "index"
    assert len(series.tokenizer) == 91
    series.check_tokens([3, 90])
    with pytest.raises(SeriesMismatch, match="token id 97 occurs in the corpus but base embeds only 97 ids"):
        series.check_tokens([3, 97])
    series.check_tokens([3, 97], {"base": {97: 3}, "chat": {97: 4}})
    with pytest.raises(SeriesMismatch, match="97 occurs in the corpus but chat embeds only 97 ids; name what it reads"):
        series.check_tokens([3, 97], {"base": {97: 3}})


def test_different_tokenizers_name_both(family: Path) -> None:
    swapped = {f"w{i}": i for i in range(90)} | {"w5": 6, "w6": 5}
    save_tokenizer(family / "step16", swapped)
    series = series_of(folders=f"{family}/step*")
    with pytest.raises(SeriesMismatch, match=r"step0 and step16 have different tokenizers: 'w5' is 5 in one and 6"):
        _ = series.tokenizer
    series.check_tokens([3, 4, 7])
    with pytest.raises(SeriesMismatch, match="id 5 is 'w5' in one and 'w6' in the other"):
        series.check_tokens([3, 5])
    chosen = series_of(folders=f"{family}/step*", tokenizer=str(family / "step16"))
    assert chosen.tokenizer("w5")["input_ids"] == [6]


def test_different_width_or_depth_names_both(family: Path) -> None:
    build_model("gpt_neox", hidden_size=48).save_pretrained(family / "step2000")
    with pytest.raises(SeriesMismatch, match=r"step0 has width \(d_model\) 32 but step2000 has 48"):
        _ = series_of(folders=f"{family}/step*").d_model
    build_model("gpt_neox", num_hidden_layers=2).save_pretrained(family / "step2000")
    with pytest.raises(SeriesMismatch, match="step0 has number of blocks 3 but step2000 has 2"):
        series_of(folders=f"{family}/step*").open(0)


def test_hook_points_are_checked_without_weights(original: Path) -> None:
    series = series_of(folders=f"{original}/step*")
    series.check_hook_points([HookPoint("embed"), HookPoint("resid_post", 2)])
    with pytest.raises(HookPointError, match=r"resid_post\.3 is out of range: step0 has 3 blocks, so layers 0 to 2"):
        series.check_hook_points([HookPoint("resid_post", 3)])


def test_identity_is_the_content(family: Path) -> None:
    series = series_of(folders=f"{family}/step*")
    identities = [series.identity(i) for i in range(len(series))]
    assert len(set(identities)) == len(STEPS)
    shutil.copytree(family / "step4", family / "renamed")
    assert series_of(model=str(family / "renamed")).identity(0) == identities[3]


def pickle_weights(folder: Path, **more: object) -> None:
    """Replace a snapshot's safetensors by a pickle, with more in it if so wished."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**tensors, **more}, folder / "pytorch_model.bin")


def test_pickled_weights_are_read_by_leave_alone(family: Path) -> None:
    expected = load_model(str(family / "step0")).state_dict()
    pickle_weights(family / "step0")
    series = open_series(SeriesConfig(folders=f"{family}/step*"))
    with pytest.raises(
        SnapshotError, match=r"only pickled weights \(pytorch_model.bin\); set series.allow_pickled"
    ) as no:
        series.open(0)
    assert "\n" not in str(no.value)
    allowed = open_series(SeriesConfig(folders=f"{family}/step*", allow_pickled_weights=True))
    loaded = allowed.open(0).module.state_dict()
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name


class Payload:
    """Unpickled freely it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_holds_code_runs_nothing(family: Path, tmp_path: Path) -> None:
    pickle_weights(family / "step0", payload=Payload(tmp_path / "made"))
    allowed = open_series(SeriesConfig(folders=f"{family}/step*", allow_pickled_weights=True))
    with pytest.raises(SnapshotError, match="none of it was run"):
        allowed.open(0)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_torn_weights_are_one_sentence(family: Path, name: str) -> None:
    if name == "pytorch_model.bin":
        pickle_weights(family / "step0")
    whole = (family / "step0" / name).read_bytes()
    (family / "step0" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SnapshotError, match="fetch them again"):
        open_series(SeriesConfig(folders=f"{family}/step*", allow_pickled_weights=True)).open(0)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ['{"model_type": ', "[]", ""])
def test_torn_settings_are_one_sentence(family: Path, name: str, text: str) -> None:
    (family / "step0" / name).write_text(text)
    series = open_series(SeriesConfig(folders=f"{family}/step*"))
    with pytest.raises(SnapshotError, match=f"step0/{name} .*; fetch it again"):
        _ = (series.d_model, series.tokenizer)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"hidden_size": 48}, "of shape .* where its config asks for"),
        ({"hidden_size": "big"}, "describes no model that can be built"),
        ({"num_attention_heads": 7}, "describes no model that can be built"),
        ({"model_type": "vit"}, "cannot be read"),
    ],
)
def test_a_config_of_another_model_is_refused(family: Path, keys: dict[str, object], named: str) -> None:
    path = family / "step0" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    with pytest.raises(SnapshotError, match=f"step0.*{named}"):
        load_model(str(family / "step0"))


def test_a_file_that_holds_no_tokenizer_is_named(family: Path) -> None:
    (family / "step0" / "tokenizer.json").write_text('{"a": 1}')
    with pytest.raises(SnapshotError, match="holds no tokenizer"):
        open_series(SeriesConfig(folders=f"{family}/step*")).check_tokens()


def test_missing_tensors_are_refused(family: Path) -> None:
    path = family / "step0" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("gpt_neox.final_layer_norm.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(SnapshotError, match="lacks 1 tensors that its config asks for"):
        load_model(str(family / "step0"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "exactly one of model, folders, or base with chat"),
        ({"model": "a/b", "folders": "x*"}, "found model and folders"),
        ({"base": "a/b"}, "base and chat go together"),
        ({"model": "a/b", "steps": [1], "revisions": ["x"]}, "one of revisions, steps and range"),
        ({"model": "a/b", "revisions": ["x", "x"]}, "names x more than once"),
        ({"model": "a/b", "steps": []}, "steps is empty"),
        ({"model": "a/b", "range": {"first": 5, "last": 5, "count": 2}}, "last = 5 must be larger"),
        ({"model": "a/b", "revision_format": "final"}, "must contain"),
        ({"model": "a/b", "revision_format": "step{step}-{tokens}"}, "no other braces"),
    ],
)
def test_contradicting_keys(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SeriesConfig(**keys)
