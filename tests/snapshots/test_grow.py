import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from ontogeny.errors import NonFiniteError, SnapshotError
from ontogeny.snapshots.grow import grow_family, iter_training_batches, learning_rate
from ontogeny.snapshots.grow_config import FamilyConfig
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.corpus import Corpus
from ontogeny.tokens.rules.config import ChangesConfig, RulesConfig
from ontogeny.tokens.rules.world import build_rules


def tiny(folder: Path, **fields: object) -> FamilyConfig:
    text = folder / "text.txt"
    if not text.is_file():
        text.write_text("the cat sat on the mat and the dog ran to the cat. " * 200)
    defaults: dict[str, object] = {
        "sources": [TextSourceConfig(kind="files", path=str(text))],
        "vocab_size": 300, "n_layers": 1, "d_model": 16, "n_heads": 2, "context_length": 16, "steps": 12,
        "batch_size": 4, "linear_every": 4, "checkpoint_every": 3, "warmup": 2,
    }  # fmt: skip
    return FamilyConfig(**(defaults | fields))  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_snapshot_steps_double_then_go_on_in_equal_steps() -> None:
    assert FamilyConfig(steps=40, linear_every=10).snapshot_steps == [0, 1, 2, 4, 8, 10, 20, 30, 40]
    assert FamilyConfig(steps=5, linear_every=10).snapshot_steps == [0, 1, 2, 4, 5]
    assert FamilyConfig(steps=40, snapshots=[20, 3, 3]).snapshot_steps == [3, 20]
    assert FamilyConfig(steps=9, per_octave=2, linear_every=99).snapshot_steps == [0, 1, 2, 3, 4, 6, 8, 9]
    changing = {"kind": "rules", "rules": {"changes": {"chat_step": 7, "vanish_step": 5}}}
    assert FamilyConfig(sources=[changing], steps=8).snapshot_steps == [0, 1, 2, 4, 5, 7, 8]  # type: ignore[list-item]
    assert len(FamilyConfig().snapshot_steps) >= 10


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"d_model": 30, "n_heads": 4}, "multiple of n_heads"),
        ({"steps": 5, "snapshots": [6]}, "snapshot 6"),
        ({"sources": [{"kind": "rules"}, {"kind": "stdlib"}]}, "own vocabulary"),
        (
            {"steps": 9, "sources": [{"kind": "rules", "rules": {"changes": {"chat_step": 9}}}]},
            "world changes at step 9",
        ),
        ({"sources": [{"kind": "rules", "rules": {"stage": 0}}]}, "leave out 'stage'"),
    ],
)
def test_a_family_that_cannot_be_is_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        FamilyConfig(**fields)  # type: ignore[arg-type]


def test_the_learning_rate_warms_up_stays_and_falls_to_the_end() -> None:
    config = FamilyConfig(steps=10, warmup=2, decay=0.5, lr=1.0)
    np.testing.assert_allclose([learning_rate(config, step) for step in (0, 1, 4, 5, 7, 9)], [0.5, 1, 1, 1, 0.6, 0.2])


def test_batches_are_a_function_of_the_step_and_cover_every_row_once_an_epoch() -> None:
    corpus = Corpus.from_tokens(np.arange(7)[:, None].repeat(3, axis=1))
    config = FamilyConfig(steps=7, batch_size=4)
    batches = list(iter_training_batches([corpus], config, 0))
    assert [batch.tolist() for batch in iter_training_batches([corpus], config, 5)] == [b.tolist() for b in batches[5:]]
    rows = torch.cat(batches)[:, 0].reshape(4, 7)
    assert (rows.sort(dim=1).values == torch.arange(7)).all() and len({tuple(row.tolist()) for row in rows}) > 1


def test_a_stage_reads_its_own_corpus_from_its_step_on() -> None:
    corpora = [Corpus.from_tokens(np.full((7, 3), stage)) for stage in range(3)]
    changing = {"kind": "rules", "rules": {"changes": {"chat_step": 6, "vanish_step": 2}}}
    config = FamilyConfig(sources=[changing], steps=9, batch_size=4)  # type: ignore[list-item]
    batches = list(iter_training_batches(corpora, config, 0))
    assert [int(batch.unique()) for batch in batches] == [0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert all(torch.equal(a, b) for a, b in zip(iter_training_batches(corpora, config, 5), batches[5:], strict=True))


def test_a_family_is_ordinary_hugging_face_folders_that_learn(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = tiny(tmp_path, steps=30, lr=1e-2)
    folders = grow_family(config, tmp_path / "family")
    assert [folder.name for folder in folders][:5] == ["step0", "step1", "step2", "step4", "step8"]
    tokenizer = AutoTokenizer.from_pretrained(folders[-1])
    model = AutoModelForCausalLM.from_pretrained(folders[-1])
    ids = tokenizer("the cat sat", return_tensors="pt").input_ids
    assert tokenizer.bos_token_id == 0 and model(ids).logits.shape[-1] == len(tokenizer)
    log = [json.loads(line) for line in (tmp_path / "family" / "loss.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(30))
    assert log[0]["loss"] == pytest.approx(np.log(len(tokenizer)), abs=0.2) and log[-1]["loss"] < log[0]["loss"] - 1
    assert not (tmp_path / "family" / "checkpoint").exists()
    # A second call finds it done; another config is kept out.
    before = (folders[-1] / "model.safetensors").stat().st_mtime_ns
    assert grow_family(config, tmp_path / "family") == folders
    assert (folders[-1] / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SnapshotError, match="another config"):
        grow_family(tiny(tmp_path, steps=31), tmp_path / "family")


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from ontogeny.snapshots.grow import grow_family
from ontogeny.snapshots.grow_config import FamilyConfig
grow_family(FamilyConfig.model_validate_json(Path(sys.argv[1]).read_text()), sys.argv[2])
"""


CHANGING = RulesConfig(
    document_length=32, n_documents=40, changes=ChangesConfig(vanish_step=60, remap_step=120, chat_step=150)
)


@pytest.mark.parametrize("rules", [None, CHANGING], ids=["text", "changing rules"])
def test_a_killed_growth_ends_in_the_same_bits(tmp_path: Path, rules: RulesConfig | None) -> None:
    fields = {"sources": [TextSourceConfig(kind="rules", rules=rules)]} if rules else {}
    steps = 200 if rules else 400
    config = tiny(tmp_path, steps=steps, linear_every=100, checkpoint_every=50, **fields)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    family = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "config.json"), str(family)])
    # The changing world is killed in its second stage, at the checkpoint of step 100 or soon after.
    ready = family / "checkpoint" / ("step100.safetensors" if rules else "state.json")
    while process.poll() is None and not ready.is_file():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (family / f"step{steps}").exists(), "the growth ended before it could be killed"
    resumed = grow_family(config, family)
    whole = grow_family(config, tmp_path / "whole")
    for left, right in zip(resumed, whole):
        ours, theirs = weights(left), weights(right)
        assert left.name == right.name and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("loss.jsonl", *(["rules.json"] if rules else [])):
        assert (family / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_loss_that_is_no_number_stops_and_keeps_what_was(tmp_path: Path) -> None:
    config = tiny(tmp_path, lr=1e30, warmup=0, decay=0.0, clip=1e30)
    with pytest.raises(NonFiniteError, match="lower lr"):
        grow_family(config, tmp_path / "family")
    assert (tmp_path / "family" / "step0").is_dir() and not (tmp_path / "family" / "step12").exists()


def test_a_family_grows_on_planted_rules(tmp_path: Path) -> None:
    rules = RulesConfig(n_documents=20)
    config = tiny(tmp_path, sources=[TextSourceConfig(kind="rules", rules=rules)], steps=2)
    folders = grow_family(config, tmp_path / "family")
    embedding = weights(folders[-1])["gpt_neox.embed_in.weight"]
    assert len(embedding) == len(build_rules(rules).words) + 1
