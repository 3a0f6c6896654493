"""Choosing what `ontogeny list` shows."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from ontogeny.commands.listing import find_prunable, print_artifact, print_list, select, with_evaluations
from ontogeny.errors import ConfigError
from ontogeny.workspace import Workspace


def test_facts_are_compared_as_they_are_meant(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for lr in (1e-3, 2e-3):
        workspace.begin("dictionaries", {"lr": lr, "skip": lr > 1e-3}, name="d").finish(summary={"fve": lr})
    artifacts = workspace.artifacts()
    slow = [artifact for artifact in artifacts if artifact.manifest["config"]["lr"] == 1e-3]
    for condition in ("lr=0.001", "lr=1e-3", "skip=false", "skip=False"):
        assert select(artifacts, [condition], None) == slow
    assert select(artifacts, ["lr=x"], None) == []
    assert [artifact.manifest["config"]["lr"] for artifact in select(artifacts, ["name=d"], "fve")] == [2e-3, 1e-3]
    with pytest.raises(ConfigError, match="did you mean 'skip'"):
        select(artifacts, ["skp=true"], None)


def test_an_empty_list_says_so() -> None:
    text = io.StringIO()
    print_list([], Console(file=text))
    assert text.getvalue() == "nothing here answers to that\n"


def test_ids_stay_whole_in_narrow_lists(tmp_path: Path) -> None:
    workspace, text = Workspace(tmp_path), io.StringIO()
    workspace.begin("results", {}, name="a very long name of a recipe that many runs share").finish(analysis="x" * 40)
    (artifact,) = workspace.artifacts()
    print_list([artifact], Console(file=text, width=60))
    kind, found, *_ = text.getvalue().splitlines()[1].split()
    assert (kind, found) == ("results", artifact.id) and "x" * 40 in text.getvalue()


def test_a_dictionary_is_listed_with_what_its_newest_evaluation_found(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    dictionary = workspace.begin("dictionaries", {"lr": 1}, name="d")
    dictionary.finish(summary={"train/fve": 0.5})
    for day, fve in (("2026-01-02", 0.9), ("2026-01-01", 0.7)):
        draft = workspace.begin("evaluations", {"max_tokens": fve}, inputs={"dictionary": dictionary.id}, name="d")
        draft.finish(summary={"fve": fve, "n_tokens": 10}, created=day)
    (listed,) = with_evaluations(workspace, workspace.artifacts("dictionaries"))
    assert listed.manifest["summary"] == {"train/fve": 0.5, "fve": 0.9}
    assert select([listed], ["fve=0.9"], "fve") == [listed]


def test_columns_empty_in_every_row_are_left_out(tmp_path: Path) -> None:
    workspace, text = Workspace(tmp_path), io.StringIO()
    workspace.begin("dictionaries", {}, name="d").finish(summary={"fve": 0.5})
    workspace.begin("corpora", {}, name="d").finish()
    print_list(workspace.artifacts(), Console(file=text))
    assert text.getvalue().splitlines()[0].split() == ["kind", "id", "name", "made", "size", "fve"]


def test_every_artifact_has_a_page(tmp_path: Path) -> None:
    workspace, text = Workspace(tmp_path), io.StringIO()
    workspace.begin("dictionaries", {"training": {"lr": 1e-3}}, name="d").finish(summary={"train/fve": 1 / 3})
    print_artifact(workspace, workspace.artifacts()[0], Console(file=text, width=100), as_json=False)
    page = text.getvalue()
    assert page.startswith("dictionary  d\n") and "training.lr=0.001" in page and "train/fve  0.3333" in page


def test_a_dictionary_that_waits_for_its_evaluation_keeps_both_splits(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    stores = {
        (snapshot, split): workspace.begin("activations", {"snapshot": snapshot, "split": split}, {"corpus": "c"})
        .finish()
        .id
        for snapshot in ("step1", "step2")
        for split in ("train", "held_out")
    }
    dictionary = workspace.begin("dictionaries", {}, {"step1": stores["step1", "train"]}).finish()
    assert {each.id for each in find_prunable(workspace)} == {
        stores["step2", "train"],
        stores["step2", "held_out"],
    }
    workspace.begin("evaluations", {}, {"dictionary": dictionary.id}).finish()
    assert {each.id for each in find_prunable(workspace)} == set(stores.values())
