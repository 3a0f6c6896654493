"""The story end to end on a family of seconds: every stage once, skipped when done, redone where damaged."""

import json
from pathlib import Path

import pytest
import torch

from ontogeny.errors import AnalysisError, ConfigError, CorpusError, HookPointError
from ontogeny.pipeline import Run, analyze, evaluate, harvest, open_run, run_stages, train
from ontogeny.recipe import load_recipe
from ontogeny.results import load_result
from ontogeny.workspace import Workspace

TINY = {
    "family.steps": "4",
    "family.n_layers": "2",
    "family.d_model": "16",
    "family.n_heads": "2",
    "family.vocab_size": "300",
    "family.batch_size": "2",
    "family.max_tokens": "6000",
    "family.tokenizer_characters": "20000",
    "series.steps": "0,2,4",
    "corpus.max_tokens": "6000",
    "corpus.max_tokens_per_document": "300",
    "corpus.held_out": "0.3",
    "activations.tokens_per_shard": "1024",
    "dictionary.n_latents": "64",
    "dictionary.activation.k": "8",
    "training.steps": "6",
    "training.batch_size": "64",
    "training.checkpoint_every": "2",
    "evaluation.splice_tokens": "300",
}


def open_tiny(workspace: Path, **overrides: str) -> Run:
    keys = {**TINY, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return open_run(load_recipe("demo-fast", keys.items(), env={}), Workspace(workspace))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("workspace")
    run_stages(open_tiny(workspace))
    return workspace


def test_every_stage_leaves_one_artifact(done: Path) -> None:
    workspace = Workspace(done)
    counts = {kind: len(workspace.artifacts(kind)) for kind in ("families", "corpora", "activations", "dictionaries")}
    assert counts == {"families": 1, "corpora": 1, "activations": 6, "dictionaries": 1}
    evaluation = load_result(workspace.find("demo-fast", "evaluations").path)
    assert [row["source"] for row in evaluation.table("per_source").rows()] == ["step0", "step2", "step4"]
    lifetimes = load_result(workspace.find("demo-fast", "results").path)
    assert lifetimes.summary["n_latents"] == 64


def test_finished_stages_are_skipped(done: Path) -> None:
    before = {artifact.id: artifact.manifest["created"] for artifact in Workspace(done).artifacts()}
    run_stages(open_tiny(done))
    assert {artifact.id: artifact.manifest["created"] for artifact in Workspace(done).artifacts()} == before


def test_pairs_are_held_against_the_tokenizer_before_anything_is_harvested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = {"analyses.behaviours.behaviours": '[{"kind": "agreement", "name": "verbs"}]'}
    with pytest.raises(CorpusError, match=r"behaviour 'verbs': no pair is left of 256: .* is ' "):
        run_stages(open_tiny(tmp_path, **split))
    assert {artifact.kind for artifact in Workspace(tmp_path).artifacts()} == {"families"}
    rows = [{"clean_prefix": f"x = {number}", "right": ")", "wrong": "("} for number in range(3)]
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, rows)))
    few = {"analyses.behaviours.behaviours": f'[{{"kind": "jsonl", "path": "{tmp_path}/few.jsonl"}}]'}
    run_stages(open_tiny(tmp_path, **few))
    err = capsys.readouterr().err
    assert err.count("warning: behaviours: behaviour 'few' keeps 3 pairs in 3 independent groups") == 1
    assert err.index("warning") < err.index("corpus")


def test_a_hook_point_that_the_dictionary_will_lack_ends_the_run_at_once(tmp_path: Path) -> None:
    run = open_tiny(tmp_path, **{"analyses.ablation.hook_points": '["resid_post.0"]'})
    with pytest.raises(AnalysisError, match=r"analyses\.ablation\.hook_points names 'resid_post\.0'; the recipe's"):
        run_stages(run)
    assert not Workspace(tmp_path).artifacts()


def test_another_dictionary_harvests_nothing_anew(done: Path) -> None:
    train(open_tiny(done, training__seed="1"))
    workspace = Workspace(done)
    assert len(workspace.artifacts("activations")) == 6
    assert len(workspace.artifacts("dictionaries")) == 2


def test_replacements_of_a_snapshot_that_is_none_are_refused(done: Path) -> None:
    run = open_tiny(done, **{"corpus.replacements": '{stp4 = {"a" = "b"}}'})
    with pytest.raises(ConfigError, match="names 'stp4', which is no snapshot of the series; did you mean 'step4'"):
        harvest(run)


def test_harvest_redoes_just_the_damaged_shard(done: Path) -> None:
    store = next(
        each for each in Workspace(done).artifacts("activations") if each.manifest["config"]["split"] == "train"
    )
    shards = sorted(store.path.glob("*.safetensors"))
    whole = shards[0].read_bytes()
    times = {path: path.stat().st_mtime_ns for path in shards}
    shards[0].write_bytes(whole[:-7] + b"altered")
    harvest(open_tiny(done), verify=True)
    assert shards[0].read_bytes() == whole
    assert {path for path in shards if path.stat().st_mtime_ns != times[path]} == {shards[0]}


def test_a_hook_point_outside_the_family_is_said_before_growing(tmp_path: Path) -> None:
    with pytest.raises(HookPointError, match="layers 0 to 1"):
        harvest(open_tiny(tmp_path, activations__hook_points='["resid_post.2"]'))
    assert not (tmp_path / "families").exists()


def test_the_live_ring_goes_when_training_is_done(done: Path) -> None:
    before = {artifact.id for artifact in Workspace(done).artifacts("activations")}
    evaluate(open_tiny(done, activations__store="live"))
    assert Workspace(done).drafts("activations", being_made=True) == []
    assert {artifact.id for artifact in Workspace(done).artifacts("activations")} == before
    train(open_tiny(done, activations__store="live", training__seed="5"))
    assert Workspace(done).drafts("activations", being_made=True) == []


def test_memory_store_and_transcoder_run(done: Path) -> None:
    points = '["resid_pre.1", "mlp_out.1"]'
    run = open_tiny(done, activations__hook_points=points, reads="resid_pre.1", writes="mlp_out.1")
    assert torch.isfinite(torch.tensor(evaluate(run).manifest["summary"]["fve"]))
    assert len(analyze(run)) == 1
    evaluate(open_tiny(done, activations__store="memory"))
