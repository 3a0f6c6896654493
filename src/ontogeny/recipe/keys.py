"""The keys a recipe may hold, read off the tree of configs: dotted paths, their types, their environment names."""

import json
import tomllib
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ontogeny.config import models_in, nearest
from ontogeny.errors import ConfigError

ENVIRONMENT_PREFIX = "ONTOGENY_"


def iter_keys(config: type[BaseModel], prefix: str = "", registered: bool = False) -> Iterator[tuple[str, Any]]:
    """Every dotted key below a config with its annotation, tables before what they hold; unions give all members' keys.

    `registered` asks for the keys of kinds that are not built in too.
    The items of a list have no keys of their own here: they are reached by number (`corpus.sources.0.weight`).
    """
    for name, field in config.model_fields.items():
        yield prefix + name, field.annotation
        if not is_list(field.annotation):
            for model in models_in(field.annotation, registered):
                yield from iter_keys(model, f"{prefix}{name}.", registered)


def annotations_at(config: type[BaseModel], path: tuple[str, ...]) -> list[Any]:
    """The annotations that a path may have (several under a union); ConfigError names the nearest key."""
    models, annotations = [config], [typing.cast(Any, config)]
    for depth, part in enumerate(path):
        if part.isdigit() and any(is_list(annotation) for annotation in annotations):
            annotations = [model for annotation in annotations for model in models_in(annotation)]
        elif mapped := [value for annotation in annotations for value in _values_of_mapping(annotation)]:
            annotations = mapped
        else:
            fields = [model.model_fields[part] for model in models if part in model.model_fields]
            if not fields:
                models = [model for annotation in annotations for model in models_in(annotation, registered=True)]
                fields = [model.model_fields[part] for model in models if part in model.model_fields]
            if not fields:
                known = sorted({name for model in models for name in model.model_fields})
                raise ConfigError(_unknown(".".join(path), part, known, ".".join(path[:depth])))
            annotations = [field.annotation for field in fields]
        models = [model for annotation in annotations for model in models_in(annotation)]
    return annotations


def _unknown(key: str, part: str, known: list[str], parent: str) -> str:
    place = f"[{parent}]" if parent else "a recipe"
    if not known:
        return f"unknown key {key!r}: {place} holds a value and no keys."
    alike = nearest(part, known, 1)
    if alike:
        return f"unknown key {key!r}: did you mean {f'{parent}.' if parent else ''}{alike[0]}?"
    return f"unknown key {key!r}: {place} has {', '.join(known)}."


def _values_of_mapping(annotation: Any) -> list[Any]:
    """The type of a mapping's values, where the annotation is one: its keys are free."""
    return [typing.get_args(annotation)[1]] if typing.get_origin(annotation) is dict else []


def is_list(annotation: Any) -> bool:
    """Whether a value of this type is written as a list."""
    origin = typing.get_origin(annotation)
    if origin in (list, tuple, set, frozenset):
        return True
    return any(is_list(argument) for argument in typing.get_args(annotation)) and origin is not dict


def _mentions(annotation: Any, kinds: tuple[type, ...]) -> bool:
    if annotation in kinds:
        return True
    if typing.get_origin(annotation) is typing.Literal:
        return any(type(value) in kinds for value in typing.get_args(annotation))
    return any(_mentions(argument, kinds) for argument in typing.get_args(annotation))


def parse_value(text: str, annotations: list[Any]) -> Any:
    """What a word on the command line or in the environment means for a key of this type.

    A list may be written `a,b,c`; a table or a list of tables as JSON; `none` empties a key that may be empty; a word
    stays a word where the type is a string. What does not parse is passed on as it stands, for pydantic to refuse.
    """
    if text.lower() == "none" and any(_mentions(annotation, (type(None),)) for annotation in annotations):
        return None
    listed = any(is_list(annotation) for annotation in annotations)
    tables = any(models_in(annotation) or _values_of_mapping(annotation) for annotation in annotations)
    if (listed or tables) and text[:1] in "[{":
        return _literal(text)
    if listed and not tables:
        items = [item.strip() for item in text.split(",") if item.strip()]
        words = any(_mentions(annotation, (str,)) for annotation in annotations)
        return items if words else [_literal(item) for item in items]
    numbers = any(_mentions(annotation, (int, float, bool)) for annotation in annotations)
    words = any(_mentions(annotation, (str,)) for annotation in annotations)
    if words and not numbers:
        return text
    return _literal(text)


def _literal(text: str) -> Any:
    """The JSON or TOML value of a text, or the text itself."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass  # TOML's inline tables look alike
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def environment_names(config: type[BaseModel], registered: bool = False) -> dict[str, str]:
    """Environment name -> dotted key: `ONTOGENY_TRAINING_LR` is `training.lr`.

    Two keys that would share a name are an error of ours, found by a test.
    """
    names: dict[str, str] = {}
    for key, _ in iter_keys(config, registered=registered):
        name = ENVIRONMENT_PREFIX + key.upper().replace(".", "_")
        assert names.setdefault(name, key) == key, f"{name} stands for both {names[name]} and {key}"
    return names
