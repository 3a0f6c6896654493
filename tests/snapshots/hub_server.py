"""A loopback server that speaks the part of the hub's file API that loading models and data sets needs.

    GET  /api/models/{repo}[/revision/{rev}]            model info, `sha`
    GET  /api/models/{repo}/refs                        branches and tags
    GET  /api/models/{repo}/tree/{rev}[/{folder}]       files with sizes, blob ids and LFS SHA-256
    POST /api/models/{repo}/paths-info/{rev}            the same for named paths
    HEAD, GET /{repo}/resolve/{rev}/{file}              ETag, X-Repo-Commit, X-Linked-Etag/-Size, Range

Data sets lie at /api/datasets/{repo} and /datasets/{repo}; in `repositories` their names begin with `datasets/`.
Errors carry the hub's `X-Error-Code`. A repository can be gated, and the next downloads can be cut off in the middle.
Run a client with `HF_ENDPOINT` set *before* Python starts: huggingface_hub reads it at import.
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

_LFS_SUFFIXES = (".safetensors", ".bin")


def commit_of(files: dict[str, bytes]) -> str:
    """A made-up commit id: 40 hex digits that change with any file."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()[:40]


@dataclass
class Repository:
    """Revisions of one repository: name → file name → bytes."""

    branches: dict[str, dict[str, bytes]]
    tags: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False

    def files(self, revision: str) -> dict[str, bytes] | None:
        """The files of a branch, a tag or a commit id."""
        everything = {**self.branches, **self.tags}
        by_commit = {commit_of(files): files for files in everything.values()}
        return everything.get(revision, by_commit.get(revision))


@dataclass
class Hub:
    """What the server holds and what it was asked: `requests` are (method, path, Range header)."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """File name → for each of the next GETs of it, the bytes to send before the line drops."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    endpoint: str = ""

    def count(self, pattern: str) -> int:
        """How many requests had a path that matches."""
        return sum(re.search(pattern, path) is not None for _, path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "json" in self.headers.get("Content-Type", ""):
            self._posted_paths = json.loads(body)["paths"]
        else:
            self._posted_paths = parse_qs(body).get("paths", [])
        self._answer(send_body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, send_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        path = path.replace("/api/models/", "/api/", 1)
        repo = r"/((?:datasets/)?[^/]+/[^/]+?)"
        api = re.fullmatch(f"/api{repo}(?:/(revision|refs|tree|paths-info)(?:/(.+))?)?", path)
        resolve = None if api else re.fullmatch(rf"{repo}/resolve/([^/]+)/(.+)", path)
        match = api or resolve
        repository = None if match is None else self.hub.repositories.get(match[1])
        if match is None or repository is None:
            # The hub answers 401 for a repository that does not exist when nobody is logged in.
            return self._fail(401, "RepoNotFound", "Repository not found")
        if api is not None:
            return self._api(repository, api[1], api[2], api[3])
        if repository.gated and not self.headers.get("Authorization"):
            return self._fail(401, "GatedRepo", f"Access to model {match[1]} is restricted. You must be logged in.")
        if repository.gated:
            return self._fail(
                403, "GatedRepo", f"Access to model {match[1]} is restricted and you are not in the list."
            )
        return self._resolve(repository, match[2], match[3], send_body)

    def _api(self, repository: Repository, name: str, what: str | None, rest: str | None) -> None:
        if what == "refs":
            kinds = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
            listed = {
                kind: [{"name": n, "ref": f"refs/{ref}/{n}", "targetCommit": commit_of(f)} for n, f in found.items()]
                for kind, (ref, found) in kinds.items()
            }
            return self._json({**listed, "converts": []})
        revision, _, folder = (rest or "main").partition("/")
        files = repository.files(revision)
        if files is None:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what == "tree":
            everything = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            return self._json(_tree(files, folder, everything))
        if what == "paths-info":
            return self._json([_entry(path, files[path]) for path in self._posted_paths if path in files])
        siblings = [{"rfilename": path} for path in files]
        gated = "manual" if repository.gated else False
        return self._json({"id": name, "sha": commit_of(files), "siblings": siblings, "gated": gated, "private": False})

    def _resolve(self, repository: Repository, revision: str, name: str, send_body: bool) -> None:
        files = repository.files(revision)
        if files is None:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit = {"X-Repo-Commit": commit_of(files)}
        if name not in files:
            return self._fail(404, "EntryNotFound", "Entry not found", commit)
        data = files[name]
        headers = {**commit, "ETag": f'"{_blob_id(data)}"', "Accept-Ranges": "bytes"}
        if name.endswith(_LFS_SUFFIXES):
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
        status, body = 200, data
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is not None:
            first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
            status, body = 206, data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self._send(status, body, headers, send_body, cut=self._next_cut(name) if send_body else None)

    def _next_cut(self, name: str) -> int | None:
        waiting = self.hub.cut_after.get(name)
        return waiting.pop(0) if waiting else None

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, self.command != "HEAD")

    def _fail(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        named = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self._send(status, body, {**named, **(headers or {})}, self.command != "HEAD")

    def _send(self, status: int, body: bytes, headers: dict[str, str], send_body: bool, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if not send_body:
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


def _blob_id(data: bytes) -> str:
    """git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _tree(files: dict[str, bytes], folder: str, everything: bool) -> list[dict[str, object]]:
    """Files below a folder (of all depths if `everything`), and the folders among them."""
    prefix = f"{folder}/" if folder else ""
    below = {path: data for path, data in files.items() if path.startswith(prefix)}
    parents = {path[: at.start()] for path in below for at in re.finditer("/", path) if at.start() > len(folder)}
    shown = {path for path in (*below, *parents) if everything or "/" not in path[len(prefix) :]}
    folders: list[dict[str, object]] = [
        {"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(shown & parents)
    ]
    return folders + [_entry(path, data) for path, data in below.items() if path in shown]


def _entry(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": _blob_id(data)}
    if path.endswith(_LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


@contextlib.contextmanager
def serve_hub(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """A hub on a free loopback port for the length of the block."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
