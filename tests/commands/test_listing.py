"""Choosing what `ontogeny list` shows."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from ontogeny.commands.listing import print_list, select
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
