"""An SAE of the difference of two snapshots, from recipe to analysis, and what has no meaning for it."""

from pathlib import Path

import pytest

from ontogeny.dictionaries.crosscoder import load_dictionary
from ontogeny.errors import AnalysisError, ConfigError, StoreError
from ontogeny.pipeline import run_stages, train
from ontogeny.results import load_result
from ontogeny.workspace import Workspace
from test_pipeline import open_tiny


def test_a_dictionary_of_the_difference_is_trained_judged_and_analysed(tmp_path: Path) -> None:
    whole = train(open_tiny(tmp_path))
    run_stages(open_tiny(tmp_path, activations__difference="step0,step4"))
    workspace = Workspace(tmp_path)
    assert len(workspace.artifacts("activations")) == 6, "nothing is harvested anew"
    (made,) = [each for each in workspace.artifacts("dictionaries") if each.id != whole.id]
    assert load_dictionary(made.path).sources_out == ("step4-step0",)
    evaluation = load_result(workspace.find("demo-fast", "evaluations").path)
    (row,) = evaluation.table("per_source").rows()
    assert row["source"] == "step4-step0" and row["fve"] is not None
    assert "ce_clean" not in row, "a difference cannot be put back into a model"


def test_other_snapshots_give_another_dictionary(tmp_path: Path) -> None:
    made = {train(open_tiny(tmp_path, activations__difference=pair)).id for pair in ("step0,step4", "step0,step2")}
    assert len(made) == 2


def test_what_makes_no_difference_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'step9', which is not among step0, step2, step4"):
        train(open_tiny(tmp_path, activations__difference="step0,step9"))
    with pytest.raises(ConfigError, match="needs stored activations"):
        open_tiny(tmp_path, activations__difference="step0,step4", activations__store="live")
    with pytest.raises(AnalysisError, match="has one \\(step4-step0\\)"):
        run_stages(open_tiny(tmp_path, activations__difference="step0,step4", analyses__base_chat__kl_tokens="100"))
