"""`ontogeny audit`: findings on standard output, errors in the exit code."""

import shutil
from pathlib import Path

import pytest
import torch

from ontogeny.cli import main
from snapshots.tiny_models import build_model

STEPS = (0, 1, 2)


def save_snapshot(family: Path, step: int) -> None:
    model = build_model("gpt_neox")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * step
    model.save_pretrained(family / f"step{step}")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over three different snapshots."""
    monkeypatch.setenv("ONTOGENY_WORKSPACE", str(tmp_path / "workspace"))
    for step in STEPS:
        save_snapshot(tmp_path / "family", step)
    path = tmp_path / "recipe.toml"
    path.write_text(f'name = "three"\n[series]\nfolders = "{tmp_path}/family/step*"\n')
    return path


def audit(capsys: pytest.CaptureFixture[str], recipe: Path, *words: str) -> tuple[int, str, list[str]]:
    """Exit code, standard output, lines of standard error."""
    capsys.readouterr()
    code: object = 0
    try:
        main(["audit", str(recipe), *words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return int(str(code or 0)), captured.out, captured.err.strip().splitlines()


def test_a_sound_series_exits_zero(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    code, out, err = audit(capsys, recipe, "--no-deep")
    assert (code, err) == (0, [])
    assert "nothing wrong" in out


def test_errors_exit_two_with_one_line(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    family = recipe.parent / "family"
    shutil.copy(family / "step0" / "model.safetensors", family / "step2" / "model.safetensors")
    code, out, err = audit(capsys, recipe, "--no-deep")
    assert code == 2 and len(err) == 1
    assert "1 error" in err[0] and "step0, step2" in err[0]
    assert out.startswith("error: ")


def test_warnings_exit_zero(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    family = recipe.parent / "family"
    for step in (3, 4, 6):
        save_snapshot(family, step)
    code, out, err = audit(capsys, recipe, "--no-deep")
    assert (code, err) == (0, [])
    assert "warning: steps 5" in out
