"""The only module that knows directories: `<root>/<kind>/<id>/manifest.json + payload`.

An artifact's id is a short hash of what matters: its kind, the material part of its config, and the ids of its inputs.
`complete: true` enters the manifest last and atomically, so a directory without it is work in progress.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ontogeny.config import content_hash, nearest
from ontogeny.errors import ArtifactError, DiskFull
from ontogeny.locks import LOCK, DirectoryLock, hold, is_held_elsewhere
from ontogeny.provenance import git_commit, package_versions

KINDS = (
    "families",
    "corpora",
    "activations",
    "dictionaries",
    "evaluations",
    "codes",
    "losses",
    "grams",
    "clusters",
    "results",
)
MANIFEST = "manifest.json"
STORAGE = "storage.json"
DRAFT = "draft.json"

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" into `DiskFull` and "not allowed here" into `ArtifactError`, naming the place; every other
    OSError passes."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) in _UNWRITABLE:
            assert isinstance(error, OSError), "only the system's errors have numbers"
            raise ArtifactError(
                f"{path} cannot be written ({error.strerror}); name a folder that can be, with --workspace, [storage] "
                "or the command's own option."
            ) from error
        # safetensors says the number in words alone: "... (os error 28)".
        full = (errno.ENOSPC, errno.EDQUOT)
        if getattr(error, "errno", None) not in full and not any(f"(os error {n})" in str(error) for n in full):
            raise
        raise DiskFull(
            f"no room left on the disk of {path}: free some (`ontogeny prune` drops stores that nothing needs) or give "
            "this kind another disk in [storage]; the same command then goes on where it stopped."
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole under its final name or not there: temporary, fsync, rename."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; ArtifactError where it is damaged: those that are written here are whole or not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(
            f"{path} is damaged: it is no JSON; delete {path.parent}, the same recipe makes what was in it again."
        ) from error


@dataclass(frozen=True)
class Artifact:
    """What a finished stage left: a directory with a manifest."""

    kind: str
    id: str
    path: Path
    manifest: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name given to it, oldest first: of the recipe that made it and of those that share it; not unique."""
        return tuple(self.manifest.get("names", ()))

    @property
    def title(self) -> str:
        """All names, for people; empty where there is none."""
        return ", ".join(self.names)

    @property
    def inputs(self) -> dict[str, str]:
        """The ids of the artifacts it was made from, by role."""
        return dict(self.manifest.get("inputs", {}))


@dataclass
class Draft:
    """An artifact being made, by this process alone. `complete` is True when an earlier run already finished it."""

    kind: str
    id: str
    path: Path
    config: dict[str, Any]
    inputs: dict[str, str]
    names: tuple[str, ...]
    complete: bool
    lock: DirectoryLock | None = None
    started: float = field(default_factory=time.monotonic)

    def finish(self, **fields: Any) -> Artifact:
        """Write the manifest, `complete: true`, atomically and last; `fields` are sizes, seeds, devices, timings."""
        manifest = {
            "kind": self.kind,
            "id": self.id,
            "names": list(self.names),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": self.config,
            "inputs": self.inputs,
            "seconds": round(time.monotonic() - self.started, 3),
            "bytes": directory_size(self.path),
            "versions": package_versions(),
            "git_commit": git_commit(),
            **fields,
            "complete": True,
        }
        write_json(self.path / MANIFEST, manifest)
        self.complete = True
        if self.lock is not None:
            # Who still waits for this very file finds the artifact complete, and nobody else will lock it.
            (self.path / LOCK).unlink(missing_ok=True)
            self.lock.release()
        return Artifact(self.kind, self.id, self.path, manifest)


class Workspace:
    """A directory of artifacts. `storage` puts bulky kinds on other disks."""

    def __init__(self, root: Path | str, storage: Mapping[str, Path | str] | None = None) -> None:
        self.root = Path(root).expanduser()
        self.storage = {kind: Path(place).expanduser() for kind, place in (storage or {}).items()}
        unknown = sorted(set(self.storage) - set(KINDS))
        if unknown:
            raise ArtifactError(f"[storage] has no kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}.")
        for place in (self.root, *self.storage.values()):
            if place.exists() and not place.is_dir():
                raise ArtifactError(f"{place} is no folder; name one with --workspace or [storage].")

    def directory(self, kind: str) -> Path:
        """Where artifacts of this kind lie."""
        assert kind in KINDS, f"unknown kind of artifact {kind!r}"
        return self.storage.get(kind, self.root / kind)

    def places(self, kind: str) -> list[Path]:
        """Every directory that has held this kind, today's first: a recipe's [storage] is remembered in the root, so
        that commands without that recipe see, and spare, what lies elsewhere."""
        recorded = read_json(self.root / STORAGE) if (self.root / STORAGE).is_file() else {}
        return list(dict.fromkeys([self.directory(kind), self.root / kind, *map(Path, recorded.get(kind, []))]))

    def _remember(self, kind: str) -> None:
        place = self.directory(kind).resolve()
        if kind not in self.storage or place in self.places(kind)[1:]:
            return
        recorded = read_json(self.root / STORAGE) if (self.root / STORAGE).is_file() else {}
        write_json(self.root / STORAGE, {**recorded, kind: [*recorded.get(kind, []), str(place)]})

    def begin(
        self,
        kind: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
        name: str | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> Draft:
        """Open the place of an artifact, new, half-made or complete; the id is a hash of kind, config and inputs.

        The name is added to those that it has. While another process makes it, this one waits, after `on_wait()`.
        """
        config, inputs = dict(config), dict(inputs or {})
        material: dict[str, Any] = {"kind": kind, "config": config, "inputs": inputs}
        identity = content_hash(material)
        self._remember(kind)
        made = (place / identity for place in self.places(kind) if _manifest_of(place / identity) is not None)
        path = next(made, self.directory(kind) / identity)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = hold(path, on_wait) if _manifest_of(path) is None else None
        manifest = _manifest_of(path)
        complete = manifest is not None
        if manifest is not None:
            if (path / LOCK).exists():  # asked first: what is finished can be read from a read-only disk
                (path / LOCK).unlink(missing_ok=True)
            lock = None
        # A draft says what this directory is going to be, for whoever finds it half-made.
        file = path / (MANIFEST if complete else DRAFT)
        known = manifest or (read_json(file) if file.is_file() else material)
        names = tuple(dict.fromkeys([*known.get("names", ()), *([name] if name is not None else [])]))
        if list(names) != known.get("names"):
            write_json(file, {**known, "names": list(names)})
        return Draft(kind, path.name, path, config, inputs, names, complete, lock)

    def _directories(self, kind: str) -> list[Path]:
        """Directories of artifacts in every place of this kind, each once however the place is spelt."""
        found = [path for place in self.places(kind) if place.is_dir() for path in sorted(place.iterdir())]
        return list({path.resolve(): path for path in reversed(found) if path.is_dir()}.values())[::-1]

    def artifacts(self, kind: str | None = None) -> list[Artifact]:
        """All complete artifacts, oldest first."""
        found = []
        for each in (kind,) if kind else KINDS:
            for path in self._directories(each):
                manifest = _manifest_of(path)
                if manifest is not None:
                    found.append(Artifact(each, path.name, path, manifest))
        return sorted(found, key=lambda artifact: str(artifact.manifest.get("created", "")))

    def drafts(self, kind: str, being_made: bool = False) -> list[Artifact]:
        """What no run has finished, by leave also what one is at just now; the manifest is what the draft said."""
        found = []
        for path in self._directories(kind):
            if not _manifest_of(path) and (being_made or not is_held_elsewhere(path)):
                draft = path / DRAFT
                found.append(Artifact(kind, path.name, path, read_json(draft) if draft.is_file() else {}))
        return found

    def find(self, reference: str, kind: str | None = None) -> Artifact:
        """The artifact with this id, unique id prefix, or name (the newest of that name); ArtifactError otherwise."""
        artifacts = self.artifacts(kind)
        named = [artifact for artifact in artifacts if reference in artifact.names]
        if named:
            return named[-1]
        matches = [artifact for artifact in artifacts if reference and artifact.id.startswith(reference)]
        if len(matches) == 1:
            return matches[0]
        what = kind or "artifacts"
        if matches:
            raise ArtifactError(f"{reference!r} fits {len(matches)} {what}: {', '.join(a.id for a in matches[:5])}.")
        known = {word: None for artifact in artifacts for word in (*artifact.names, artifact.id)}
        alike = nearest(reference, known)
        hint = f"nearest: {', '.join(alike)}" if alike else f"{len(artifacts)} there; see `ontogeny list`"
        raise ArtifactError(f"nothing in {self.root} answers to {reference!r} among {what} ({hint}).")

    def remove(self, artifact: Artifact) -> None:
        """Delete an artifact, its manifest first: a cut-off removal must not look like a whole artifact."""
        (artifact.path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(artifact.path)


def _manifest_of(path: Path) -> dict[str, Any] | None:
    file = path / MANIFEST
    if not file.is_file():
        return None
    manifest: dict[str, Any] = read_json(file)
    return manifest if manifest.get("complete") is True else None


def directory_size(path: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
