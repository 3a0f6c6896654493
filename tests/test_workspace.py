"""The workspace: ids, atomic completion, look-up, removal, a full disk."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ontogeny.errors import ArtifactError, DiskFull
from ontogeny.workspace import MANIFEST, Workspace, disk_errors, read_json, write_bytes, write_json


def test_id_depends_on_kind_config_and_inputs_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first = workspace.begin("corpora", {"a": 1, "b": [2]}, {"x": "1"}, name="one")
    assert first.id == workspace.begin("corpora", {"b": [2], "a": 1}, {"x": "1"}, name="two").id
    others = [
        workspace.begin("families", {"a": 1, "b": [2]}, {"x": "1"}),
        workspace.begin("corpora", {"a": 2, "b": [2]}, {"x": "1"}),
        workspace.begin("corpora", {"a": 1, "b": [2]}, {"x": "2"}),
    ]
    assert len({first.id, *(draft.id for draft in others)}) == 4


def test_only_finished_artifacts_are_listed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    draft = workspace.begin("corpora", {"a": 1}, name="words")
    assert not draft.complete
    assert workspace.artifacts() == []
    assert [(each.path, each.names) for each in workspace.drafts("corpora")] == [(draft.path, ("words",))]
    (draft.path / "payload").write_bytes(b"12345")
    artifact = draft.finish(seed=3)
    assert workspace.begin("corpora", {"a": 1}).complete
    assert workspace.artifacts() == workspace.artifacts("corpora") == [artifact]
    manifest = read_json(artifact.path / MANIFEST)
    assert manifest["complete"] is True and manifest["seed"] == 3 and manifest["bytes"] >= 5
    assert "torch" in manifest["versions"]


def test_find_by_name_prefix_and_helpful_failure(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    artifact = workspace.begin("results", {"a": 1}, name="evolution").finish()
    assert workspace.find("evolution") == workspace.find(artifact.id[:5]) == artifact
    workspace.begin("evaluations", {"a": 1}, name="evolution").finish()
    with pytest.raises(ArtifactError, match=r"\(nearest: evolution\)"):
        workspace.find("evolutoin")
    with pytest.raises(ArtifactError, match="no kind 'stores'"):
        Workspace(tmp_path, {"stores": tmp_path})


def test_an_artifact_answers_to_every_name_that_it_was_begun_under(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.begin("corpora", {"a": 1}, name="cut-off")
    artifact = workspace.begin("corpora", {"a": 1}, name="maker").finish()
    assert artifact.names == ("cut-off", "maker")
    workspace.begin("corpora", {"a": 1}, name="sharer")
    workspace.begin("corpora", {"a": 1}, name="maker")
    assert workspace.find(artifact.id).names == ("cut-off", "maker", "sharer")
    assert {workspace.find(name).id for name in ("maker", "sharer")} == {artifact.id}
    with pytest.raises(ArtifactError, match="nearest: sharer"):
        workspace.find("sharrer")


MAKER = """
import sys, time
from pathlib import Path
from ontogeny.workspace import Workspace
draft = Workspace(sys.argv[1]).begin("corpora", {"a": 1}, name=sys.argv[2], on_wait=lambda: print("waits", flush=True))
print("complete" if draft.complete else "making", flush=True)
if not draft.complete:
    sys.stdin.readline()
    draft.finish()
"""


def start_maker(workspace: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKER, str(workspace), name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_waits_for_the_first_and_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    with start_maker(tmp_path, "one") as first:
        assert read_word(first) == "making"
        assert Workspace(tmp_path).drafts("corpora") == []
        assert [each.names for each in Workspace(tmp_path).drafts("corpora", being_made=True)] == [("one",)]
        with start_maker(tmp_path, "two") as second:
            assert read_word(second) == "waits"
            first.kill()
            assert read_word(second) == "making"
            with start_maker(tmp_path, "three") as third:
                assert read_word(third) == "waits"
                second.communicate("\n")
                assert read_word(third) == "complete"
    assert Workspace(tmp_path).find("three").names == ("one", "two", "three")
    assert not list(tmp_path.rglob(".lock"))


def test_storage_puts_a_kind_on_another_disk(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home", {"activations": tmp_path / "big"})
    artifact = workspace.begin("activations", {}).finish()
    assert artifact.path.parent == tmp_path / "big"
    workspace.remove(artifact)
    assert workspace.artifacts() == []


def test_safetensors_words_for_a_full_disk_are_understood(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="no room left"), disk_errors(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), disk_errors(tmp_path):
        raise SafetensorError("Error while serializing: invalid header")


def test_a_place_that_is_no_folder_or_not_ours_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"file is no folder"):
        Workspace(tmp_path / "file")
    with pytest.raises(ArtifactError, match=r"file is no folder"):
        Workspace(tmp_path, {"activations": tmp_path / "file"})
    with pytest.raises(ArtifactError, match=r"cannot be written \(Not a directory\)"):
        Workspace(tmp_path / "file" / "deeper").begin("corpora", {})

    def refuse(_: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ArtifactError, match="Read-only file system"):
        Workspace(tmp_path / "home").begin("corpora", {}, name="a")


def test_what_is_finished_opens_on_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Workspace(tmp_path).begin("corpora", {}, name="a").finish()

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert Workspace(tmp_path).begin("corpora", {}, name="a").complete


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    artifact = Workspace(tmp_path).begin("corpora", {}).finish()
    (artifact.path / MANIFEST).write_text('{"kind": "cor')
    with pytest.raises(ArtifactError, match=f"{artifact.id}/manifest.json is damaged"):
        Workspace(tmp_path).artifacts()


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "kept.json", 1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no room left"):
        write_bytes(tmp_path / "kept.json", b"2")
    assert read_json(tmp_path / "kept.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_commands_without_the_recipe_see_what_its_storage_moved(tmp_path: Path) -> None:
    moved = Workspace(tmp_path / "home", {"activations": tmp_path / "big"})
    artifact = moved.begin("activations", {"a": 1}).finish()
    plain = Workspace(tmp_path / "home")
    assert plain.artifacts("activations") == [artifact] and plain.find(artifact.id) == artifact
    again = plain.begin("activations", {"a": 1})
    assert again.complete and again.path.resolve() == artifact.path.resolve()
    other = plain.begin("activations", {"a": 2}).finish()
    assert other.path.parent == tmp_path / "home" / "activations"
    assert {found.id for found in moved.artifacts("activations")} == {artifact.id, other.id}
