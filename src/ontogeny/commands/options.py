"""What every command takes: where artifacts lie, which family, which grid; and what it opens with them."""

import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ontogeny.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from ontogeny.pipeline import Run
    from ontogeny.recipe import Family, Recipe
    from ontogeny.workspace import Workspace

RecipeName = Annotated[str, Parameter(help="A TOML file, or the name of a shipped recipe.")]
Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, help="Keys of the recipe: --section.key VALUE.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Where artifacts lie."""

    workspace: Annotated[Path, Parameter(env_var="ONTOGENY_WORKSPACE")] = Path("ontogeny-workspace")
    """Folder of all artifacts."""


@Parameter(name="*")
@dataclass(frozen=True)
class Options(Place):
    """What every command on a recipe takes."""

    family: str | None = None
    """Run the recipe on this family of models instead: a folder of step0, step1, … or the name of a grown one."""
    sweep: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    """A grid: section.key=a,b runs the recipe for every value; several make every combination."""


PLACE, OPTIONS = Place(), Options()  # the defaults of every command


def load_recipes(reference: str, overrides: Sequence[str], options: Options) -> dict[str, "Recipe"]:
    """The recipe once for every combination of the sweep, by what is its own ("k=32"; empty without a sweep)."""
    from ontogeny.recipe import load_recipe, parse_overrides, parse_sweep

    given = parse_overrides(overrides)
    _refuse_misspelt_options(key for key, _ in given)
    family = _open_family(options) if options.family is not None else None
    recipes = {
        " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in combination): load_recipe(
            reference, [*given, *combination], family=family
        )
        for combination in parse_sweep(options.sweep)
    }
    for note in next(iter(recipes.values())).notes:
        print(f"adapted {note}", file=sys.stderr)
    return recipes


def _refuse_misspelt_options(keys: Iterable[str]) -> None:
    """ConfigError for a word that is no key of a recipe and more like an option of the command than like any key."""
    from ontogeny.config import nearest
    from ontogeny.recipe import Recipe

    names = [*Recipe.model_fields, *(field.name for field in dataclasses.fields(Options))]
    for key in keys:
        alike = [] if "." in key or key in names else nearest(key, names, 1)
        if alike and alike[0] not in Recipe.model_fields:
            raise ConfigError(f"unknown option --{key}: did you mean --{alike[0]}?")


def _open_family(options: Options) -> "Family":
    from ontogeny.recipe import open_family

    assert options.family is not None, "asked for only with --family"
    folder = Path(options.family).expanduser()
    if folder.is_dir():
        return open_family(folder)
    if len(folder.parts) > 1:
        raise ConfigError(f"--family {options.family}: there is no such folder; give one with step0, step1, … in it.")
    grown = open_workspace(options).find(options.family, "families")
    return open_family(grown.path, options.family, tuple(grown.manifest["config"]["sources"]))


def open_runs(reference: str, overrides: Sequence[str], options: Options) -> list["Run"]:
    """A run for every recipe of the sweep, in its workspace."""
    from ontogeny.pipeline import open_run

    recipes = load_recipes(reference, overrides, options)
    runs = []
    for variant, recipe in recipes.items():
        runs.append(open_run(recipe, open_workspace(options, recipe.storage), variant=variant))
    return runs


def open_workspace(place: Place, storage: dict[str, str] | None = None) -> "Workspace":
    """The workspace at this place, bulky kinds where `storage` puts them."""
    from ontogeny.workspace import Workspace

    return Workspace(place.workspace, storage)


def open_console() -> "Console":
    """Results go to standard output, as wide as a table needs where nobody's terminal sets the width."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS", "140")))
