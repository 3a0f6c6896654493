"""What a comparison calls the groups that it shows."""

from pathlib import Path

from ontogeny.commands.compare import group_by_setting
from ontogeny.workspace import Workspace


def test_a_label_leaves_out_what_a_recipe_does_not_set(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name, steps in (("all", None), ("two", [0, 8])):
        dictionary = workspace.begin("dictionaries", {"k": 8, "of": name}, name=name)
        dictionary.finish(recipe={"series": {"steps": steps}})
        evaluation = workspace.begin("evaluations", {"of": name}, inputs={"dictionary": dictionary.id}, name=name)
        evaluation.finish(summary={"l0": 8.0})
    groups = group_by_setting(workspace, workspace.artifacts("evaluations"))
    assert {group.label for group in groups} == {"all of=all", "two of=two steps=[0, 8]"}
