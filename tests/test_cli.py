"""The command line: exit codes, one-line errors, speed of --help, and that every command exists for real."""

import subprocess
import sys
from pathlib import Path

import pytest

from ontogeny.cli import app, main
from paths import REPOSITORY

COMMANDS = {
    "demo", "run", "harvest", "train", "evaluate", "analyze", "grow", "audit", "plan", "revisions", "list", "show",
    "compare", "figures", "report", "prune", "export", "import", "steer", "annotate",
}  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code: object = 0
    try:
        main(words)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return int(str(code or 0)), captured.out, captured.err


def test_commands_are_those_that_work() -> None:
    assert {name for name in app if not name.startswith("-")} == COMMANDS


def test_help_needs_no_torch() -> None:
    code = "import sys; from ontogeny.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--family" in done.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "pythia-160"], "pythia-160m"),
        (["run", "demo", "--training.lrr", "1"], "training.lr"),
        (["run", "demo", "--devic", "cpu"], "device"),
        (["run", "demo", "--device", "quantum"], "quantum"),
        (["runn", "demo"], "runn"),
        (["run", "demo", "--workspce", "x"], "--workspace"),
        (["run", "demo", "--swep", "x"], "--sweep"),
        (["run", "demo", "--threads", "10000000"], "4096"),
        (["show", "nothing"], "nothing"),
        (["compare"], "list"),
        (["list", "--kind", "dictionary"], "dictionaries"),
        (["import", "/nowhere"], "/nowhere"),
    ],
)
def test_user_errors_are_one_line_and_exit_two(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], hint: str
) -> None:
    monkeypatch.setenv("ONTOGENY_WORKSPACE", str(tmp_path))
    code, _, err = run(capsys, *words)
    assert code == 2
    assert hint in err
    assert len(err.strip().splitlines()) == 1


def test_a_recipe_without_stages_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONTOGENY_WORKSPACE", str(tmp_path / "workspace"))
    (tmp_path / "r.toml").write_bytes(b'\xef\xbb\xbfname = "r"\n[series]\nfolders = "step*"\n')  # an editor's mark
    code, _, err = run(capsys, "run", str(tmp_path / "r.toml"))
    assert code == 2 and "[activations]" in err


def test_resolved_says_where_values_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("show", "demo", "--resolved", "--training.lr", "3e-4", "--corpus.replacements", '{base = {"<a>" = "<b>"}}')
    code, out, _ = run(capsys, *words)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("training.lr "))
    assert "0.0003" in line and "command line" in line
    assert any("corpus.replacements.base.<a>" in line and "<b>" in line for line in out.splitlines())


def test_plan_needs_no_download(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plan", "pythia-160m")
    assert code == 0
    assert "harvest" in out and "train" in out and "GB" in out


def test_plan_guesses_the_amount_of_text_from_its_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    shipped = (REPOSITORY / "recipes" / "demo-fast.toml").read_text()
    recipe.write_text(shipped.replace("max_tokens = 100_000\n", ""))
    (tmp_path / "a.txt").write_text("a word " * 1000)
    files = f'[{{kind = "files", path = "{tmp_path}/*.txt"}}]'
    code, out, _ = run(capsys, "plan", str(recipe), "--corpus.sources", files)
    assert code == 0 and "5 bytes a token" in out
    hub = '[{kind = "hub", dataset = "someone/text"}]'
    code, _, err = run(capsys, "plan", str(recipe), "--corpus.sources", hub)
    assert code == 2 and err == "ontogeny: plan needs to know the amount of text: set corpus.max_tokens.\n"
    assert run(capsys, "plan", "demo-fast")[1].count("bytes a token") == 0


def test_plan_refuses_a_layer_that_the_models_lack(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "plan", "pythia-160m", "--activations.hook_points", '["resid_post.12"]')
    assert code == 2 and err.splitlines() == [
        "ontogeny: activations.hook_points names layer 12, which is out of range: the models have 12 blocks, so "
        "layers 0 to 11."
    ]


def test_an_empty_workspace_can_be_listed_and_pruned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "list", "--workspace", str(tmp_path))[0] == 0
    code, out, _ = run(capsys, "prune", "--workspace", str(tmp_path))
    assert code == 0 and "0 stores" in out
