"""Frozen configuration: the base class, what of it matters for identity, and errors that name the cure."""

import difflib
import hashlib
import importlib
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ontogeny.errors import ConfigError


class ImmaterialMarker:
    """Marks a field that changes how a result is made but not what it is (device, threads, budgets)."""

    def __repr__(self) -> str:
        return "Immaterial"


Immaterial = ImmaterialMarker()


class AddedMarker:
    """Marks a field that came when artifacts existed: at its default it has no part in identity, so ids stay."""

    def __repr__(self) -> str:
        return "Added"


Added = AddedMarker()


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, attribute docstrings are the help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class KindConfig(Config):
    """Base of families of configs that `kind` tells apart: some are built in, a registry adds the others.

    The base of a family is its direct subclass. It names the registry, a dict kind -> entry with a `Config`, which is
    imported only for a kind that is not built in: what is built in needs nothing heavy to be read.
    """

    kind: str
    """Which one of the family."""
    registry: ClassVar[str] = ""
    built_in: ClassVar[tuple[type[Config], ...]] = ()

    @classmethod
    def variants(cls, registered: bool = False) -> list[type[Config]]:
        """The configs that may stand where `cls` is named; `registered` imports the registry and adds its own."""
        if KindConfig not in cls.__bases__:
            return [cls]
        return list(dict.fromkeys([*cls.built_in, *(cls._registered().values() if registered else ())]))

    @classmethod
    def choose(cls, value: Any) -> Any:
        """A table as the config that its `kind` names, for a validator; ValueError names the nearest kind."""
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind")
        chosen = {config.model_fields["kind"].default: config for config in cls.built_in}
        if kind not in chosen:
            chosen = {**cls._registered(), **chosen}
        if kind not in chosen:
            hint = did_you_mean(str(kind), chosen, f"the kinds are {', '.join(chosen)}")
            raise ValueError(f"there is no kind {kind!r}; {hint}" if "kind" in value else f"kind is missing; {hint}")
        return chosen[kind].model_validate(value)

    @classmethod
    def _registered(cls) -> dict[str, type[Config]]:
        return {kind: entry.Config for kind, entry in _load_registry(cls.registry).items()}


def registered_name(noun: str, registry: str, built_in: Iterable[str]) -> Callable[[str], str]:
    """A validator of names in a registry, `module:DICT`, that is imported only for a name that is not built in.

    ValueError names the nearest name.
    """

    def check(name: str) -> str:
        if name not in built_in and name not in (known := _load_registry(registry)):
            hint = did_you_mean(name, known, f"there are {', '.join(known)}")
            raise ValueError(f"there is no {noun} {name!r}; {hint}")
        return name

    return check


def _load_registry(place: str) -> dict[str, Any]:
    module, _, name = place.partition(":")
    registry: dict[str, Any] = getattr(importlib.import_module(module), name)
    return registry


def config_identity(config: BaseModel) -> dict[str, Any]:
    """The JSON-able part of a config that matters for what is computed.

    That is every field not marked `Immaterial`, and of those marked `Added` the ones that differ from their default.
    """
    identity: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if any(isinstance(item, ImmaterialMarker) for item in field.metadata):
            continue
        added = any(isinstance(item, AddedMarker) for item in field.metadata)
        if added and value == field.get_default(call_default_factory=True):
            continue
        identity[name] = _identity_of(value)
    return identity


def _identity_of(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return config_identity(value)
    if isinstance(value, Mapping):
        return {str(key): _identity_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_identity_of(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def content_hash(value: Any, length: int = 12) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON-able value's canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known words most like `word`, best first; empty when nothing is alike."""
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.5)


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """`did you mean 'the nearest'?`; `otherwise` when nothing is alike."""
    alike = nearest(word, known, 1)
    return f"did you mean {alike[0]!r}?" if alike else otherwise


def config_error(error: ValidationError, config: type[BaseModel], where: str) -> ConfigError:
    """One sentence for pydantic's first complaint: the key, the value, what is allowed, the nearest key."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        known = _keys_beside(config, path)
        hint = did_you_mean(path[-1], known, f"known keys here: {', '.join(sorted(known))}.")
        return ConfigError(f"{where}: unknown key {key!r}; {hint}")
    if first["type"] == "missing":
        return ConfigError(f"{where}: {key!r} is missing; add it.")
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] in ("model_type", "dict_type"):
        message = "Input should be a table of keys"
    if first["type"] == "json_invalid":
        return ConfigError(f"{where} is not valid JSON: {first['ctx']['error']}.")
    shown = repr(first["input"])
    if len(shown) > 80:
        shown = shown[:77] + "..."
    end = "" if message.endswith("?") else "."
    return ConfigError(f"{where}: {f'{key} = ' if key else ''}{shown}: {message}{end}")


def _keys_beside(config: type[BaseModel], path: list[str]) -> set[str]:
    """The keys allowed where `path` ends, found by walking the tree of configs (unions contribute all members)."""
    candidates: list[type[BaseModel]] = [config]
    for part in path[:-1]:
        deeper = [
            model
            for candidate in candidates
            if part in candidate.model_fields
            for model in models_in(candidate.model_fields[part].annotation, registered=True)
        ]
        # A list index or a union tag is no field: stay where we are.
        candidates = deeper or candidates
    return {name for candidate in candidates for name in candidate.model_fields}


def models_in(annotation: Any, registered: bool = False) -> list[type[BaseModel]]:
    """The pydantic models that an annotation mentions: itself, the members of a union, the items of a list.

    A family of kinds stands for its members: those built in and, if asked for, those of its registry.
    """
    if isinstance(annotation, type) and issubclass(annotation, KindConfig):
        return [*annotation.variants(registered)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in models_in(argument, registered)]
