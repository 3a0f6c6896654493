"""Where a recipe's values come from: file, environment, command line and top-level defaults laid over one another."""

import copy
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ontogeny.config import nearest
from ontogeny.errors import ConfigError
from ontogeny.recipe.keys import ENVIRONMENT_PREFIX, annotations_at, environment_names, parse_value
from ontogeny.recipe.tree import flatten

# Variables of ours that are not keys of a recipe.
OTHER_VARIABLES = ("ONTOGENY_WORKSPACE", "ONTOGENY_NOTES", "ONTOGENY_TYPECHECK")


class Layers:
    """A tree of values being laid together; `origins` says for every dotted key which layer gave it."""

    def __init__(self, schema: type[BaseModel]) -> None:
        self.schema = schema
        self.tree: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def lay_file(self, path: Path) -> None:
        """Lay a TOML file; ConfigError where it is missing or no TOML."""
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
            tree = tomllib.loads(text)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give a recipe's file or name.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text; a recipe is a TOML file.") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}.") from error
        lines = key_lines(text)
        for key, value in flatten(tree):
            # TOML has no null: "none" empties a key that may be empty.
            if value == "none":
                value = parse_value(value, annotations_at(self.schema, tuple(key.split("."))))
            self.lay(key, value, f"{path.name}:{_line_of(key, lines)}")

    def lay_environment(self, environment: Mapping[str, str]) -> None:
        """Lay every `ONTOGENY_…` variable; ConfigError names the nearest where one is no key."""
        names = environment_names(self.schema)
        for variable in sorted(environment):
            if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
                continue
            if variable not in names:
                names = environment_names(self.schema, registered=True)
            if variable not in names:
                alike = nearest(variable, [*names, *OTHER_VARIABLES], 1)
                hint = f"did you mean {alike[0]}?" if alike else "unset it."
                raise ConfigError(f"environment: unknown variable {variable}; {hint}")
            self.lay_text(names[variable], environment[variable], f"environment {variable}")

    def lay_overrides(self, overrides: Iterable[tuple[str, str]]) -> None:
        """Lay `(dotted key, text)` pairs from the command line."""
        for key, text in overrides:
            self.lay_text(key, text, "command line")

    def lay_text(self, key: str, text: str, origin: str) -> None:
        """Lay a value written as text, read by its key's type."""
        annotations = annotations_at(self.schema, tuple(key.split(".")))
        self.lay(key, parse_value(text, annotations), origin)

    def lay(self, key: str, value: Any, origin: str) -> None:
        """Set one dotted key; a table given whole replaces what lay there."""
        place: Any = self.tree
        *parents, last = key.split(".")
        for depth, part in enumerate(parents):
            place = self._step(place, part, key)
            if not isinstance(place, dict | list):
                raise ConfigError(f"{origin}: {'.'.join(parents[: depth + 1])!r} holds a value and no keys.")
        for known in [known for known in self.origins if known == key or known.startswith(f"{key}.")]:
            del self.origins[known]
        if isinstance(place, list):
            place[self._index(place, last, key)] = value
        else:
            place[last] = copy.deepcopy(value)
        self.origins[key] = origin

    def lay_defaults(self, names: Mapping[str, str], sections: Mapping[str, set[str]]) -> None:
        """Give top-level values to every section that has such a key and says nothing; `names`: top-level -> key."""
        for name, key in names.items():
            if name not in self.tree:
                continue
            for section, keys in sections.items():
                table = self.tree.get(section)
                if key in keys and isinstance(table, dict) and key not in table:
                    self.lay(f"{section}.{key}", self.tree[name], f"top-level {name} ({self.origins[name]})")

    def origin(self, key: str) -> str:
        """The layer that gave a key, or the table above it; "default" where none did."""
        while key:
            if key in self.origins:
                return self.origins[key]
            key = key.rpartition(".")[0]
        return "default"

    def _step(self, place: Any, part: str, key: str) -> Any:
        if isinstance(place, list):
            return place[self._index(place, part, key)]
        if place.get(part) is None:
            place[part] = {}
        return place[part]

    def _index(self, place: list[Any], part: str, key: str) -> int:
        if not part.isdigit() or int(part) >= len(place):
            raise ConfigError(f"{key!r}: the list's items are numbered from 0 and it has {len(place)}, so no {part!r}.")
        return int(part)


def _line_of(key: str, lines: Mapping[str, int]) -> int:
    """The line of a key, or of the inline table that holds it."""
    while key not in lines and "." in key:
        key = key.rpartition(".")[0]
    return lines.get(key, 1)


def key_lines(text: str) -> dict[str, int]:
    """Dotted key -> line of a TOML text; an array of tables stands under its own name, at its first line."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = header[1].replace('"', "") + "."
            lines.setdefault(table[:-1], number)
        elif key := re.match(r'\s*([\w."-]+)\s*=', line):
            lines.setdefault(table + key[1].replace('"', ""), number)
    return lines
