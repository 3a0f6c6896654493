"""Documents from each kind of source: the standard library, planted rules, files, saved datasets, the hub."""

import hashlib
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.errors import CorpusError
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.files import Record, find_files, iter_records

Message = dict[str, str]

SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3"}
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant"}
"""Roles as another common form of conversation ({from, value}) calls them."""


@dataclass(frozen=True)
class Document:
    """One document before it is tokens: plain text, or the messages of a conversation.

    `labels` and `masks` have one value a token, for text whose tokens were known before the text was (planted rules).
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)


def iter_documents(source: TextSourceConfig, separator: str | None = None) -> Iterator[Document]:
    """The documents of a source in their fixed order.

    `separator` parts the documents of a text file unless the source names its own.
    Errors: CorpusError for missing files, columns and datasets, each naming what there is instead.
    """
    return KINDS[source.kind](source, source.document_separator or separator)


def stdlib_files() -> list[Path]:
    """The running Python's own library, sorted by relative path, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    files = (file for file in root.rglob("*.py") if not SKIPPED_FOLDERS & set(file.relative_to(root).parts))
    return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _stdlib_documents(source: TextSourceConfig, separator: str | None) -> Iterator[Document]:
    # In the order of a hash of the file names, so that the first million tokens are a fair sample of the library.
    root = Path(sysconfig.get_path("stdlib"))
    order = sorted(stdlib_files(), key=lambda file: hashlib.sha256(file.relative_to(root).as_posix().encode()).digest())
    for file in order:
        yield Document(text=file.read_text(encoding="utf-8", errors="replace"))


def _rules_documents(source: TextSourceConfig, separator: str | None) -> Iterator[Document]:
    from ontogeny.tokens.rules.world import build_rules, build_stages

    worlds = build_stages(source.rules) if source.rules.stage is None else (build_rules(source.rules),)
    for number in range(source.rules.n_documents):
        document = worlds[number % len(worlds)].document(number)
        yield Document(text=document.text, labels=document.labels, masks=document.masks)


def _file_documents(source: TextSourceConfig, separator: str | None) -> Iterator[Document]:
    assert source.path is not None
    for file in find_files(source.path):
        for record in iter_records(file, separator):
            yield document_of(record, source, str(file))


def _folder_documents(source: TextSourceConfig, separator: str | None) -> Iterator[Document]:
    from datasets import Dataset, load_from_disk

    assert source.path is not None
    folder = Path(source.path).expanduser()
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {source.path!r}; give one that datasets' save_to_disk wrote.")
    try:
        dataset = load_from_disk(str(folder))
    except FileNotFoundError as error:
        raise CorpusError(f'{source.path!r} was not written by datasets\' save_to_disk; use kind = "files".') from error
    if not isinstance(dataset, Dataset):
        if source.split not in dataset:
            raise CorpusError(f"{source.path!r} has no split {source.split!r}; its splits are {', '.join(dataset)}.")
        dataset = dataset[source.split]
    for record in dataset:
        yield document_of(record, source, source.path)


def _hub_documents(source: TextSourceConfig, separator: str | None) -> Iterator[Document]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    assert source.dataset is not None
    try:
        dataset = load_dataset(
            source.dataset, source.subset, split=source.split, revision=source.revision, streaming=True
        )
    except DatasetNotFoundError as error:
        raise CorpusError(f"the hub has no dataset {source.dataset!r} that you may read: {error}.") from error
    except ValueError as error:  # datasets' own word for an unknown configuration or split, with what there is
        raise CorpusError(f"dataset {source.dataset!r}: {error}") from error
    except OSError as error:
        raise CorpusError(f"dataset {source.dataset!r} cannot be reached ({error}); is there a network?") from error
    except RuntimeError as error:
        if not str(error).startswith("Dataset scripts"):
            raise
        raise CorpusError(
            f"dataset {source.dataset!r} is a Python script, which datasets >= 4 does not run; name a copy of it in "
            'Parquet or JSON (often there is one at revision = "refs/convert/parquet").'
        ) from error
    for record in dataset:
        yield document_of(record, source, source.dataset)


def document_of(record: Record, source: TextSourceConfig, where: str) -> Document:
    """A record as a document, by the source's column and template."""
    if source.template is not None and not source.chat:
        try:
            return Document(text=_valid(source.template.format_map(record)))
        except KeyError as error:
            raise _no_column(str(error.args[0]), record, where) from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise CorpusError(
                f"{where}: the source's template {source.template!r} does not fit its columns {', '.join(record)} "
                f"({error}); write it like '{{title}}: {{body}}'."
            ) from error
    if source.column not in record:
        raise _no_column(source.column, record, where)
    value = record[source.column]
    if source.chat:
        return Document(messages=_messages_of(value, source.column, where))
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise CorpusError(f"{where}: column {source.column!r} holds a {kind}, no text; use 'template' or chat = true.")
    return Document(text=_valid(value or ""))


def _valid(text: str) -> str:
    """The text with U+FFFD for every half of a surrogate pair: JSON can name one, but no tokenizer reads it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _no_column(column: str, record: Record, where: str) -> CorpusError:
    return CorpusError(f"{where} has no column {column!r}; its columns are {', '.join(record)}.")


def _messages_of(value: Any, column: str, where: str) -> tuple[Message, ...]:
    shape = f"{where}: column {column!r} must hold a list of {{role, content}}"
    if not isinstance(value, list):
        raise CorpusError(f"{shape}, not a {type(value).__name__}.")
    messages = []
    for item in value:
        if not isinstance(item, dict) or not ({"role", "content"} <= set(item) or {"from", "value"} <= set(item)):
            raise CorpusError(f"{shape}; one of them is {str(item)[:60]!r}.")
        role = item["role"] if "role" in item else SPEAKERS.get(item["from"], item["from"])
        content = item.get("content", item.get("value")) or ""
        if not isinstance(content, str):
            raise CorpusError(f"{where}: a message's content is a {type(content).__name__}; it must be text.")
        messages.append({"role": str(role), "content": _valid(content)})
    return tuple(messages)


KINDS: dict[str, Callable[[TextSourceConfig, str | None], Iterator[Document]]] = {
    "stdlib": _stdlib_documents,
    "rules": _rules_documents,
    "files": _file_documents,
    "folder": _folder_documents,
    "hub": _hub_documents,
}
