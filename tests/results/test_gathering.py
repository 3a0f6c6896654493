"""A name, a dictionary and any of its results lead to the same gathering; what leads nowhere says why."""

from pathlib import Path

import pytest

from ontogeny.errors import ArtifactError
from ontogeny.results import save_result
from ontogeny.results.gathering import gather_results
from ontogeny.workspace import Workspace
from results.synthetic import SOURCES, make_results


def test_every_reference_leads_to_the_dictionary(made_up: Workspace) -> None:
    by_name = gather_results(made_up, "made-up")
    assert set(by_name.results) == set(make_results()) and by_name.sources == SOURCES
    assert by_name.chosen is None and by_name.older == 0
    assert gather_results(made_up, by_name.dictionary.id).results.keys() == by_name.results.keys()
    result = by_name.results["evolution"]
    assert gather_results(made_up, result.id).chosen == result


def test_the_newest_of_a_kind_stands_unless_an_older_one_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    dictionary = workspace.begin("dictionaries", {"k": 1}, name="made-up").finish(sources=["a"])
    ids = []
    for threshold in (0.5, 0.9):
        config = {"analysis": "meaning", "threshold": threshold}
        draft = workspace.begin("results", config, {"dictionary": dictionary.id}, name="made-up")
        save_result(make_results(4)["meaning"], draft.path)
        ids.append(draft.finish(analysis="meaning", created=f"2026-01-0{len(ids) + 1}").id)
    assert gather_results(workspace, "made-up").results["meaning"].id == ids[1]
    assert gather_results(workspace, "made-up").older == 1
    assert gather_results(workspace, ids[0]).results["meaning"].id == ids[0]


def test_a_result_of_the_text_alone_goes_with_its_recipe(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ids = []
    for name in ("mine", "yours"):
        draft = workspace.begin("results", {"analysis": "ngrams", "of": name}, {"corpus": "c"}, name=name)
        save_result(make_results(4)["meaning"], draft.path)
        ids.append(draft.finish(analysis="ngrams").id)
    dictionary = workspace.begin("dictionaries", {"k": 1}, name="mine").finish(sources=["a"])
    assert gather_results(workspace, "mine").results["ngrams"].id == ids[0]
    assert gather_results(workspace, ids[0]).dictionary.id == dictionary.id
    alone = gather_results(workspace, ids[1])
    assert alone.subject.id == ids[1] and list(alone.results) == ["ngrams"], "its recipe has no dictionary"


def test_what_has_no_results_says_so(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    corpus = workspace.begin("corpora", {"k": 1}, name="text").finish()
    workspace.begin("dictionaries", {"k": 1}, {"corpus": corpus.id}, name="fresh").finish(sources=["a"])
    with pytest.raises(ArtifactError, match="no results yet"):
        gather_results(workspace, "fresh")
    with pytest.raises(ArtifactError, match="corpora"):
        gather_results(workspace, corpus.id)
    with pytest.raises(ArtifactError, match="nothing in"):
        gather_results(workspace, "elsewhere")
