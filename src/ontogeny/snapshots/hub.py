"""The hub's file API and local model folders behind one set of functions; its errors become sentences.

`huggingface_hub` is imported inside the functions: it costs half a second and `--help` must not pay for it.
"""

import contextlib
import fnmatch
import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ontogeny.config import nearest
from ontogeny.errors import RevisionNotFound, SnapshotError
from ontogeny.snapshots.names import natural_key, nearest_steps, step_of

CONFIG_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
# transformers' own names only: repositories often hold the same weights again (`consolidated.safetensors`, `fp16/`).
SAFE_WEIGHTS = "model*.safetensors"
PICKLED_WEIGHTS = "pytorch_model*.bin"
WEIGHT_PATTERNS = (SAFE_WEIGHTS, PICKLED_WEIGHTS)
_LISTED = 5


@dataclass(frozen=True)
class Reference:
    """A branch or a tag of a hub repository and the commit it points to."""

    name: str
    kind: str
    commit: str


@dataclass(frozen=True)
class WeightFile:
    """One file of weights: path inside the snapshot, size in bytes, SHA-256 (hub: the LFS object's)."""

    name: str
    size_bytes: int
    sha256: str


def is_local(model: str) -> bool:
    """Whether `model` is a folder on this machine rather than a hub id."""
    return Path(model).is_dir()


def split_revision(reference: str) -> tuple[str, str | None]:
    """`id@revision` as (id, revision); an existing folder is never split."""
    if is_local(reference) or "@" not in reference:
        return reference, None
    model, revision = reference.rsplit("@", 1)
    return model, revision


@contextlib.contextmanager
def hub_errors(model: str, revision: str | None = None) -> Iterator[None]:
    """Turn the hub client's errors into a `SnapshotError` that names model, revision and the cure."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise revision_not_found(model, revision or "main", [ref.name for ref in list_references(model)]) from error
    except errors.GatedRepoError as error:
        raise SnapshotError(
            f"{model} is gated: accept its licence at {constants.ENDPOINT}/{model} and log in with `hf auth login` "
            "(or set HF_TOKEN)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SnapshotError(
            f"{model} is neither a folder here nor a repository at {constants.ENDPOINT}; check the spelling, or log in "
            "with `hf auth login` if it is private."
        ) from error
    except errors.HFValidationError as error:
        raise SnapshotError(f"{model!r} is neither a folder here nor a hub id of the form owner/name.") from error
    except _network_errors() as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise SnapshotError(
            f"{named(model, revision)} could not be read from {constants.ENDPOINT} ({reason}); files that arrived "
            "whole are kept, so run the same command again when the connection is back."
        ) from error


def _network_errors() -> tuple[type[Exception], ...]:
    """What the hub client raises when the hub is silent or cut off; its HTTP library's base class among them."""
    from huggingface_hub import errors

    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, http_error, ConnectionError)


def named(model: str, revision: str | None) -> str:
    """`model@revision` for messages."""
    return model if revision is None else f"{model}@{revision}"


def revision_not_found(model: str, revision: str, known: Sequence[str]) -> RevisionNotFound:
    """The error for a revision that does not exist; it lists the nearest by step, else by spelling."""
    step = step_of(revision)
    with_step = {name: found for name in known if (found := step_of(name)) is not None}
    if step is not None and with_step:
        close = nearest_steps(step, list(with_step.values()), _LISTED)
        alike = sorted((name for name, found in with_step.items() if found in close), key=natural_key)[:_LISTED]
    else:
        alike = nearest(revision, known, _LISTED) or sorted(known, key=natural_key)[:_LISTED]
    listed = ", ".join(alike) if alike else "none"
    return RevisionNotFound(
        f"{model} has no revision {revision!r}; the nearest are {listed} (`ontogeny revisions {model}` lists all)."
    )


@functools.lru_cache(maxsize=64)
def list_references(model: str) -> tuple[Reference, ...]:
    """Branches, then tags, of a hub repository in natural order; asked once a process."""
    from huggingface_hub import HfApi

    with hub_errors(model):
        refs = HfApi().list_repo_refs(model)
    found = [Reference(ref.name, kind, ref.target_commit) for kind in ("branch", "tag") for ref in _refs_of(refs, kind)]
    return tuple(sorted(found, key=lambda ref: (ref.kind, natural_key(ref.name))))


def _refs_of(refs: object, kind: str) -> list:
    return list(getattr(refs, "branches" if kind == "branch" else "tags"))


@functools.lru_cache(maxsize=1024)
def resolve_commit(model: str, revision: str | None) -> str:
    """The commit that a revision points to: from the hub, or from its local cache where the hub can't be reached."""
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        with hub_errors(model, revision):
            commit = HfApi().model_info(model, revision=revision).sha
    except SnapshotError as error:
        cached = try_to_load_from_cache(model, "config.json", revision=revision)
        # A refusal (gated, missing) is an answer of the hub and stands; only silence is covered by the cache.
        refused = isinstance(error.__cause__, errors.HfHubHTTPError)
        if refused or not isinstance(error.__cause__, _network_errors()) or not isinstance(cached, str):
            raise
        commit = Path(cached).parent.name
    assert commit is not None, f"the hub gave no commit for {named(model, revision)}"
    return commit


def weight_files(model: str, revision: str | None = None) -> tuple[WeightFile, ...]:
    """The files that hold a snapshot's weights, safetensors where there are any.

    Hub: sizes and LFS hashes from the tree, asked once a process; nothing is downloaded. Local: the files are hashed,
    again only when they have changed.
    """
    if not is_local(model):
        return _hub_weight_files(model, revision)
    paths = {path.name: path for pattern in WEIGHT_PATTERNS for path in Path(model).glob(pattern)}
    stats = {name: paths[name].stat() for name in _preferred(sorted(paths))}
    return tuple(
        WeightFile(name, stat.st_size, sha256_of(paths[name], stat.st_size, stat.st_mtime_ns))
        for name, stat in stats.items()
    )


@functools.lru_cache(maxsize=1024)
def _hub_weight_files(model: str, revision: str | None) -> tuple[WeightFile, ...]:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with hub_errors(model, revision):
        entries = list(HfApi().list_repo_tree(model, revision=revision))
    files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    chosen = _preferred(sorted(name for name in files if any(fnmatch.fnmatch(name, p) for p in WEIGHT_PATTERNS)))
    return tuple(_weight_file(files[name]) for name in chosen)


def _weight_file(entry: object) -> WeightFile:
    """A tree entry as a WeightFile; a file small enough to be outside LFS has only git's own blob id."""
    lfs, size, path = (getattr(entry, name) for name in ("lfs", "size", "path"))
    digest = f"blob:{getattr(entry, 'blob_id', '')}" if lfs is None else lfs.sha256
    return WeightFile(path, size, digest)


def _preferred(names: Sequence[str]) -> list[str]:
    safe = [name for name in names if name.endswith(".safetensors")]
    return safe or list(names)


@functools.lru_cache(maxsize=4096)
def sha256_of(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file; size and time of change only tell the cache that it is still the same file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The local folder with a snapshot's files that match `patterns`; an interrupted download goes on where it was."""
    if is_local(model):
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()  # in a log they would be noise around the one line that says what is wrong
    with hub_errors(model, revision):
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))


@contextlib.contextmanager
def open_file(model: str, revision: str | None, name: str) -> Iterator[BinaryIO]:
    """A seekable binary file of a snapshot; on the hub only the bytes that are read travel (range requests)."""
    if is_local(model):
        with (Path(model) / name).open("rb") as file:
            yield file
        return
    from huggingface_hub import HfFileSystem

    # Blocks of 64 KiB: a spot check reads a header and a few slices, not the 5 MiB that is the default read-ahead.
    with (
        hub_errors(model, revision),
        HfFileSystem().open(f"{model}/{name}", "rb", revision=revision, block_size=2**16) as file,
    ):
        yield file
