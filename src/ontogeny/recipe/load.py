"""From a file, a family, the environment and the command line to one `Recipe`."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ontogeny.config import config_error, did_you_mean
from ontogeny.errors import ConfigError
from ontogeny.recipe.family import Family, fit_to_family
from ontogeny.recipe.keys import iter_keys
from ontogeny.recipe.layers import Layers
from ontogeny.recipe.tree import Recipe

# Top-level key -> the key of a section that it is the default of.
SECTION_KEYS = {"device": "device", "dtype": "compute_dtype", "seed": "seed"}


def load_recipe(
    path: Path | str,
    overrides: Iterable[tuple[str, str]] = (),
    env: Mapping[str, str] | None = None,
    family: Family | None = None,
) -> Recipe:
    """Read a recipe by file or name; later layers win: file, family, environment, command line, then defaults.

    `overrides` are (dotted key, text) pairs. `env` is the environment (default: the process's own), in which
    ONTOGENY_SECTION_KEY sets section.key. Top-level device, dtype and seed fill the sections that say nothing.
    Errors: ConfigError for a missing file, bad TOML, an unknown key or variable, a value out of range.
    """
    layers = Layers(Recipe)
    file = find_recipe(path)
    layers.lay_file(file)
    notes: dict[str, list[str]] = {}
    if family is not None:
        before = _validate(layers, file.name)
        for key, value in fit_to_family(before, family).items():
            layers.lay(key, value, f"family {family.name}")
            notes[key] = _note(key, before, value)
    layers.lay_environment(os.environ if env is None else env)
    layers.lay_overrides(overrides)
    _drop_absent(layers.tree)
    layers.lay_defaults(SECTION_KEYS, _sections_with())
    recipe = _validate(layers, file.name)
    recipe._origins.update(layers.origins)
    # What the environment or the command line then set anew was not adapted.
    recipe._notes = tuple(note for key in notes if layers.origin(key).startswith("family ") for note in notes[key])
    return recipe


def _validate(layers: Layers, name: str) -> Recipe:
    try:
        return Recipe.model_validate(layers.tree)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        origin = layers.origin(key)
        raise config_error(error, Recipe, name if origin == "default" else origin) from error


def _drop_absent(tree: dict[str, Any]) -> None:
    """A key that a layer emptied is a key that nobody set: its default applies (TOML has no null)."""
    for name in [name for name, value in tree.items() if value is None]:
        del tree[name]


def _sections_with() -> dict[str, set[str]]:
    return {
        key: {inner.rpartition(".")[2] for inner, _ in iter_keys(Recipe) if inner.rpartition(".")[0] == key}
        for key in Recipe.model_fields
    }


def _note(key: str, before: Recipe, after: Any) -> list[str]:
    """A sentence on one adaptation; none where nothing was there to adapt."""
    value: Any = before
    for part in key.split("."):
        value = getattr(value, part, None)
    shown = value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value
    if key == "corpus.sources":
        shown = [source.label for source in value]
        after = [
            source.get("name") or source.get("dataset") or source.get("path") or source["kind"] for source in after
        ]
    if key.endswith(".behaviours"):
        shown = [behaviour.path or behaviour.kind for behaviour in value]
        after = [behaviour.get("path") or behaviour["kind"] for behaviour in after]
    if key in ("family", "model") or shown == after:
        return []
    return [f"{key}: {_short(shown)} → {_short(after)}"]


def _short(value: Any) -> str:
    text = "none" if value is None else _plain(value)
    return text if len(text) <= 160 else text[:157] + "…"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, list | tuple) else str(value)


def recipe_folder() -> Path:
    """Where the shipped recipes lie: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def find_recipe(reference: Path | str) -> Path:
    """A recipe's file by path, or a shipped one by name (`demo`, `pythia-160m`); ConfigError names the nearest."""
    path = Path(reference)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(recipe_folder().glob("*.toml"))}
    if str(reference) in shipped:
        return shipped[str(reference)]
    hint = did_you_mean(path.stem, shipped, f"shipped recipes: {', '.join(shipped)}.")
    raise ConfigError(f"no recipe {str(reference)!r}: it is no file and no shipped recipe; {hint}")


def parse_overrides(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--section.key value` and `--section.key=value` words as pairs; ConfigError where a value or the dashes miss."""
    pairs: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"unexpected {word!r}: a recipe's keys are given as --section.key VALUE.")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{key} lacks a value: give --{key} VALUE.")
            value = rest.pop(0)
        pairs.append((key.replace("-", "_"), value))
    return pairs


def parse_sweep(axes: Sequence[str]) -> list[list[tuple[str, str]]]:
    """`section.key=a,b` words as a grid: every combination, as overrides; one empty combination without axes."""
    choices: list[list[tuple[str, str]]] = []
    for axis in axes:
        key, equals, values = axis.removeprefix("--").partition("=")
        items = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not items:
            raise ConfigError(f"--sweep {axis!r}: give it as section.key=a,b.")
        choices.append([(key.replace("-", "_"), item) for item in items])
    return [list(combination) for combination in itertools.product(*choices)]
