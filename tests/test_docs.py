"""The documentation against the code: nothing unnamed, no dead link, every example parses, the key reference is new."""

import ast
import html
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import ontogeny
from ontogeny.activations.memory import MemoryStore
from ontogeny.analyses import ANALYSES
from ontogeny.cli import app
from ontogeny.commands import demo
from ontogeny.dictionaries.activation_functions import ACTIVATION_FUNCTIONS
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.interop import EXPORTERS, IMPORTERS
from ontogeny.dictionaries.losses import LOSSES
from ontogeny.errors import OntogenyError
from ontogeny.evaluation import columns
from ontogeny.recipe import Recipe, load_recipe, recipe_folder
from ontogeny.recipe.layers import Layers
from ontogeny.results import Column
from ontogeny.snapshots.architectures import ARCHITECTURES
from ontogeny.tokens.config import MASKS
from ontogeny.tokens.text_sources import KINDS as TEXT_KINDS
from ontogeny.training.config import TrainingConfig
from ontogeny.training.tracking import METRICS_FILE, load_metrics
from ontogeny.training.trainer import train
from ontogeny.types import SITES
from ontogeny.workspace import KINDS
from paths import REPOSITORY

DOCS = REPOSITORY / "docs"
SOURCE = REPOSITORY / "src" / "ontogeny"
PAGES = sorted(DOCS.glob("*.md"))
MARKDOWN = [*PAGES, *sorted(REPOSITORY.glob("*.md"))]
PACKAGES = sorted(path.parent for path in SOURCE.glob("*/__init__.py"))
COMMANDS = [name for name in app if not name.startswith("-")]


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(language: str) -> list[Any]:
    """Every fenced block of a language in all pages, as test parameters."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [
        pytest.param(match[1], id=f"{path.name}-{number}")
        for path in MARKDOWN
        for number, match in enumerate(fence.finditer(path.read_text(encoding="utf-8")))
    ]


def prose(text: str) -> str:
    """A page without its code, in which what looks like a link is none."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


# ---- everything has its place ------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_package_has_a_page_that_names_its_modules(package: Path) -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES if page.name != "log.md"}
    mine = {name: text for name, text in texts.items() if f"`src/ontogeny/{package.name}/`" in text}
    assert mine, f"no page in docs/ says `src/ontogeny/{package.name}/`"
    modules = {path.name for path in package.rglob("*.py")} - {"__init__.py"}
    whole = "\n".join([*mine.values(), texts["rules.md"]] if package.name == "tokens" else mine.values())
    missing = sorted(module for module in modules if f"`{module}`" not in whole)
    assert not missing, f"{', '.join(mine)} does not name {', '.join(missing)}"


def test_the_map_names_every_page() -> None:
    index = read("index.md")
    missing = [page.name for page in PAGES if page.name != "index.md" and f"({page.name})" not in index]
    assert not missing, f"docs/index.md does not link {', '.join(missing)}"


def test_the_readme_names_every_module() -> None:
    words = set(re.findall(r"\w+\.py\b", (REPOSITORY / "README.md").read_text(encoding="utf-8")))
    modules = [path for path in SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    missing = sorted(str(path.relative_to(SOURCE)) for path in modules if path.name not in words)
    assert not missing, f"the file tree in README.md lacks {', '.join(missing)}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    page = read("cli.md")
    lines = [line for line in page.splitlines() if f"`ontogeny {command}" in line]
    assert lines, f"docs/cli.md does not name `ontogeny {command}`"
    for argument in app[command].assemble_argument_collection():
        switched = argument.names[0] if argument.names else ""
        if not switched.startswith("--") or not argument.field_info.is_keyword_only:
            continue
        known = [switched, *argument.negatives]
        assert any(f"`{name}" in page for name in known), f"docs/cli.md does not name {switched} of {command}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("dictionaries.md", [*ACTIVATION_FUNCTIONS, *LOSSES, *IMPORTERS, *EXPORTERS]),
        ("analyses.md", list(ANALYSES)),
        ("tokens.md", [*TEXT_KINDS, *MASKS]),
        ("workspace.md", list(KINDS)),
        ("python.md", [name for name in ontogeny.__all__ if name != "__version__"]),
        ("recipes.md", [path.stem for path in recipe_folder().glob("*.toml")]),
        ("evaluation.md", [each.name for each in (*columns.QUALITY, *columns.SPLICE, *columns.LATENTS)]),
    ],
)
def test_every_registered_name_is_on_its_page(page: str, names: list[str]) -> None:
    text = read(page)
    # A standard error is documented with its number; "and so on" is written `ce_clean` and "each has `_se`".
    named = [name for name in names if not name.endswith("_se")]
    missing = [name for name in named if f"`{name}`" not in text and f"\n## {name}\n" not in text]
    assert not missing, f"docs/{page} does not name {', '.join(missing)}"


def test_hook_points_and_architectures_are_on_the_page_of_snapshots() -> None:
    text = read("snapshots.md")
    missing = [row.name for row in ARCHITECTURES if row.name not in text]
    missing += [site for site in SITES if f"`{site}" not in text]
    assert not missing, f"docs/snapshots.md does not name {', '.join(missing)}"


@pytest.mark.parametrize("name", list(ANALYSES))
def test_every_column_of_an_analysis_is_on_its_page(name: str) -> None:
    home = SOURCE / "analyses"
    modules = [home / f"{name}.py"] if (home / f"{name}.py").is_file() else sorted((home / name).rglob("*.py"))
    nodes = [node for path in modules for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "Column"]
    names = [call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)]
    missing = [each for each in names if f"`{each}`" not in read("analyses.md")]
    assert not missing, f"docs/analyses.md does not name {', '.join(missing)}"


def test_every_column_has_unit_and_meaning() -> None:
    groups = (columns.SOURCE, columns.QUALITY, columns.SPLICE, columns.LATENTS, columns.DENSITY, (columns.GROUP,))
    for column in (column for group in groups for column in group):
        assert isinstance(column, Column) and column.unit and column.meaning, column


def logged_names(tmp_path: Path, **config: Any) -> set[str]:
    """Names of metrics that a short training writes, source names as <source>."""
    names = ["before", "after"]
    stream = MemoryStore.from_tensors(torch.randn(256, 2, 8), names)
    structure = CrosscoderConfig.model_validate({"n_latents": 16, "init": {"norm_search": False}, **config})
    training = TrainingConfig(steps=4, batch_size=64, log_every=1, dead_window=1, initial_rows=64)
    train(stream, Crosscoder(structure, names, d_model=8), training, tmp_path)
    lines = load_metrics(tmp_path / METRICS_FILE)
    return {re.sub(r"/(before|after)$", "/<source>", name) for line in lines for name in line} - {"step"}


def test_every_training_metric_is_documented(tmp_path: Path) -> None:
    sparsity = {"kind": "tanh", "coefficient": 0.1}
    logged = logged_names(tmp_path / "jumprelu", activation={"kind": "jumprelu"}, sparsity=sparsity, preact=0.1)
    logged |= logged_names(tmp_path / "batchtopk", activation={"kind": "batchtopk", "k": 1})
    documented = set(re.findall(r"^\| `(train/[^`]+)` \|", read("training.md"), re.MULTILINE))
    assert logged - documented == set(), "docs/training.md lacks what training logs"
    assert documented - logged == set(), "docs/training.md names what training does not log"


# ---- links and examples ------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page: explicit ones, and those that headings get on the usual hosts."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    slugs = (re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles)
    return {*slugs, *re.findall(r'<a id="([^"]+)">', text)}


def links(path: Path) -> Iterator[tuple[Path, str]]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield (path.parent / file if file else path), anchor


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_relative_links_resolve(path: Path) -> None:
    for target, anchor in links(path):
        assert target.exists(), f"{path.name} links {target}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path.name} links {target.name}#{anchor}"


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_is_a_recipe_or_a_part_of_one(text: str, tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text(text, encoding="utf-8")
    if re.match(r"name\s*=", text):
        assert load_recipe(file, env={}).stages, "a whole recipe names a stage"
        return
    layers = Layers(Recipe)
    layers.lay_file(file)
    assert layers.tree, "the block sets no key of a recipe"
    for table, values in layers.tree.items():
        try:
            TypeAdapter(Recipe.model_fields[table].annotation).validate_python(values)
        except (ValidationError, OntogenyError) as error:
            pytest.fail(f"[{table}]: {error}")


@pytest.mark.parametrize("text", blocks("python"))
def test_python_compiles_and_imports_what_exists(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ontogeny":
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {', '.join(missing)}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "og":
            assert node.attr in ontogeny.__all__, f"ontogeny has no public name {node.attr}"


def test_the_key_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    written = reference.PAGE.read_text(encoding="utf-8")
    assert reference.render() == written, "run `python docs/reference.py`: docs/recipe-reference.md is out of date"
    undescribed = re.findall(r"^\| `(\w+)` \|.*\|  \|$", written, re.MULTILINE)
    assert not undescribed, f"keys without a help text: {', '.join(undescribed)}"


def test_the_picture_of_the_demo_has_the_form_of_what_is_printed() -> None:
    drawn = html.unescape(re.sub(r"<[^>]+>", "", (DOCS / "demo.svg").read_text(encoding="utf-8"))).replace("\xa0", " ")
    titles = re.findall(r'title=f?"([^"{]+)', Path(demo.__file__).read_text(encoding="utf-8"))
    missing = [words for words in (*(heading for _, heading, _ in demo.QUALITY), *titles) if words not in drawn]
    assert len(titles) == 3 and not missing, f"run `python docs/demo.py WORKSPACE`: docs/demo.svg lacks {missing}"
