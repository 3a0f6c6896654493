"""The notebooks run from top to bottom on a run made here, with no download, and are kept without outputs."""

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import ontogeny as og
from paths import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
RECIPE = """
name = "tiny"
description = "Small enough for a test."

[family]
sources = [{ kind = "stdlib" }]
vocab_size = 512
n_layers = 2
d_model = 32
steps = 24
batch_size = 4
linear_every = 8
max_tokens = 60_000
tokenizer_characters = 100_000
warmup = 4

[series]
folders = "{family}/step*"
steps = [0, 4, 16, 24]

[corpus]
sources = [{ kind = "stdlib" }]
context_length = 64
max_tokens = 30_000
max_tokens_per_document = 512

[activations]
hook_points = ["resid_post.1"]

[dictionary]
n_latents = 96
activation = { kind = "batchtopk", k = 8 }

[training]
steps = 60
batch_size = 256
lr = 3e-3

[evaluation]
max_tokens = 2_000
splice_tokens = 1_000
"""


def code_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_and_uses_public_names_alone(path: Path) -> None:
    for cell in code_of(path):
        assert cell["outputs"] == [] and cell["execution_count"] is None, f"{path.name} is kept without outputs"
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("ontogeny")
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "og":
                assert node.attr in og.__all__, f"{path.name} uses ontogeny.{node.attr}, which is not public"


@pytest.mark.slow
def test_every_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [path.stem for path in NOTEBOOKS] == ["base_chat", "evolution", "explore"]
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    monkeypatch.setenv("NOTEBOOK_RECIPE", str(recipe))
    monkeypatch.setenv("ONTOGENY_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Jupyter's own
        import nbformat
        from nbclient import NotebookClient

        for path in NOTEBOOKS:
            book = nbformat.read(path, as_version=4)
            NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
            pictures = [output for cell in book.cells for output in cell.get("outputs", []) if "data" in output]
            assert any("image/png" in output["data"] for output in pictures), f"{path.name} shows no picture"
    page = (tmp_path / "workspace" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="card"') == 12
