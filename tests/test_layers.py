"""The direction of imports: every module may import only from rooms to its left; third parties stay at their border."""

import ast
from pathlib import Path

import pytest

from paths import REPOSITORY

SOURCE = REPOSITORY / "src" / "ontogeny"
RANKS: dict[str, int] = {
    name: rank
    for rank, names in enumerate(
        [
            ["errors"],
            ["types", "hashing", "locks", "progress", "provenance"],
            ["config", "schedules"],
            ["workspace"],
            ["tokens"],
            ["snapshots"],
            ["dictionaries", "results"],
            ["activations"],
            ["interventions"],
            ["evaluation"],
            ["training"],
            ["quanta"],
            ["latents"],
            ["analyses"],
            ["recipe"],
            ["pipeline"],
            ["commands"],
            ["cli"],
        ]
    )
    for name in names
}
BORDERS = {
    "transformers": {"snapshots", "tokens"},
    "datasets": {"tokens"},
    "wandb": {"training"},
    "trackio": {"training"},
    "matplotlib": {"results", "commands"},
    "jinja2": {"results", "tokens"},
    "sqlalchemy": {"results"},
    "lm_eval": {"analyses"},
    "cyclopts": {"cli", "commands"},
}
TORCH_FREE = {
    "errors",
    "types",
    "config",
    "schedules",
    "workspace",
    "locks",
    "progress",
    "provenance",
    "results",
    "recipe",
}
MODULES = sorted(SOURCE.rglob("*.py"))


def imported_modules(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
    return names


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_left(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in RANKS, f"{room} has no place in the order of imports"
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "ontogeny" and len(parts) > 1:
            other = parts[1]
            assert other == room or RANKS[other] < RANKS[room], f"{room} must not import {other}"
        for package, rooms in BORDERS.items():
            assert parts[0] != package or room in rooms, f"{package} may be imported only in {sorted(rooms)}"
        if room in TORCH_FREE or path.name.endswith("config.py"):
            assert parts[0] != "torch", f"{path.relative_to(SOURCE)} must not need torch"


def test_analyses_do_not_import_one_another() -> None:
    home = SOURCE / "analyses"
    for path in sorted(home.rglob("*.py")):
        own = path.relative_to(home).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        names = [name.split(".") for name in imported_modules(path)]
        others = {parts[2] for parts in names if parts[:2] == ["ontogeny", "analyses"] and len(parts) > 2}
        assert others <= {own, "contract"}, f"{path.relative_to(home)} imports another analysis"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_broad_is_caught_and_nothing_is_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno} bare except"
            assert ast.unparse(node.type) not in ("Exception", "BaseException"), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.save", "pickle.load", "pickle.loads", "pickle.dump"), path.name
