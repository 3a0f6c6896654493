"""The hub path for real: a client process against a loopback server that speaks the hub's file API.

The hub's library reads its environment when it is imported, so a client is a process of its own; the import is most of
the work, so one client asks all questions that one environment can answer.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from snapshots.hub_server import Hub, Repository, commit_of, serve_hub
from snapshots.tiny_models import build_model

SOURCE = Path(__file__).resolve().parents[2] / "src"


def snapshot_files(folder: Path, seed: int, **changes: object) -> dict[str, bytes]:
    """The files of a tiny GPT-NeoX snapshot with a word tokenizer, saved in float16."""
    torch.manual_seed(seed)
    build_model("gpt_neox", **changes).half().save_pretrained(folder)
    vocabulary = {f"w{i}": i for i in range(97)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w2").save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    names = ("step0", "step1", "step512", "step1000", "step143000")
    return {name: snapshot_files(tmp_path_factory.mktemp(name), seed) for seed, name in enumerate(names)}


def pickled_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same snapshot as repositories of some years ago have it."""
    file = io.BytesIO()
    torch.save(load(files["model.safetensors"]), file)
    rest = {name: data for name, data in files.items() if not name.endswith(".safetensors")}
    return {**rest, "pytorch_model.bin": file.getvalue()}


@pytest.fixture(scope="module")
def server(steps: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    bare = {"config.json": steps["step0"]["config.json"], "pytorch_model.bin": b"not read"}
    last = steps["step143000"]
    mixed_up = {**steps, "step1": {**steps["step1"], "model.safetensors": last["model.safetensors"]}, "main": last}
    large = {"config.json": b"{}", "model.safetensors": random.Random(0).randbytes(24_000_000)}
    repositories = {
        "EleutherAI/pythia-tiny": Repository({**steps, "main": last}, {"v1": steps["step1000"]}),
        "EleutherAI/pythia-mixed": Repository(mixed_up, {"v1": steps["step1000"]}),
        "allenai/tiny": Repository({"step0-tokens0B": steps["step0"], "step1000-tokens4B": steps["step1000"]}),
        "meta/gated": Repository({"main": steps["step0"]}, gated=True),
        "big/file": Repository({"main": large}),
        "big/other": Repository({"main": large}),
        "old/pickled": Repository({"main": bare}),
        "old/readable": Repository({"main": pickled_files(steps["step1"])}),
    }
    with serve_hub(repositories) as hub:
        yield hub


@pytest.fixture
def hub(server: Hub) -> Hub:
    """The server, asked nothing yet."""
    server.requests.clear()
    server.cut_after.clear()
    return server


CLIENT = """
import contextlib, io, json, os, sys
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.series import open_series
from ontogeny.errors import OntogenyError
def series(**keys): return open_series(SeriesConfig(**keys))
def error_of(call):
    try: call()
    except OntogenyError as error: return type(error).__name__ + ': ' + str(error)
for line in sys.stdin:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(json.loads(line), dict(globals()))
    print(printed.getvalue().splitlines()[-1], flush=True)
"""


class Client:
    """A process that runs code with the hub at `endpoint`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, code: str) -> Any:
        """Run `code`; what it prints last is JSON, and the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the client ended; its traceback is on the error stream"
        return json.loads(line)


@contextlib.contextmanager
def open_client(endpoint: str, cache: Path, **environment: str) -> Iterator[Client]:
    variables = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(SOURCE),
        **environment,
    }
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        env={**clean, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Client(process)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def client(server: Hub, cache: Path) -> Iterator[Client]:
    with open_client(server.endpoint, cache) as opened:
        yield opened


def test_series_from_revisions(hub: Hub, client: Client, steps: dict[str, dict[str, bytes]]) -> None:
    found = client.ask(
        """
import torch
s = series(model="EleutherAI/pythia-tiny", revisions=["step0", "step1000", "v1"])
model = s.open(1)
print(json.dumps({"labels": s.labels, "steps": s.steps, "width": s.d_model, "depth": s.n_layers,
    "identity": [s.identity(i) for i in range(3)], "dtype": str(model.dtype),
    "tokens": s.tokenizer("w5 w6")["input_ids"], "sum": float(model.module.lm_head.weight.sum()),
    "seen": [x.tokens for x in s.snapshots]}))
"""
    )
    assert found["labels"] == ["step0", "step1000", "v1"]
    assert found["steps"] == [0, 1000, None]
    assert (found["width"], found["depth"]) == (32, 3)
    assert found["identity"] == [commit_of(steps["step0"]), commit_of(steps["step1000"]), commit_of(steps["step1000"])]
    assert found["dtype"] == "torch.float32"
    assert found["tokens"] == [5, 6]
    assert found["seen"] == [0, 1000 * 2_097_152, None]
    torch.manual_seed(3)
    expected = build_model("gpt_neox").half().float().get_output_embeddings().weight.sum().item()
    assert found["sum"] == pytest.approx(expected, rel=1e-5)


def test_pickled_weights_come_by_leave(hub: Hub, client: Client) -> None:
    found = client.ask(
        """
old = series(model="old/readable", allow_pickled_weights=True).open(0).module.state_dict()
new = series(model="EleutherAI/pythia-tiny", revisions=["step1"]).open(0).module.state_dict()
print(json.dumps([bool((old[name] == new[name]).all()) for name in new]))
"""
    )
    assert all(found)


def test_steps_ranges_and_patterns(hub: Hub, client: Client) -> None:
    found = client.ask(
        """
p = "EleutherAI/pythia-tiny"
print(json.dumps({
    "steps": [x.revision for x in series(model=p, steps=[0, 512]).snapshots],
    "log": series(model=p, range={"count": 4, "spacing": "log"}).steps,
    "linear": series(model=p, range={"count": 3, "spacing": "linear", "last": 1000}).steps,
    "olmo": [[x.revision, x.step, x.tokens, x.label]
        for x in series(model="allenai/tiny", steps=[0, 1000], revision_format="step{step}-tokens*").snapshots]}))
"""
    )
    assert found["steps"] == ["step0", "step512"]
    assert found["log"] == [0, 1, 1000, 143000]
    assert found["linear"] == [0, 512, 1000]
    assert found["olmo"] == [["step0-tokens0B", 0, 0, "step0"], ["step1000-tokens4B", 1000, 4 * 10**9, "step1000"]]


def test_wrong_names_are_one_sentence_with_a_cure(hub: Hub, client: Client) -> None:
    code = """
p = "EleutherAI/pythia-tiny"
print(json.dumps({
    "revision": error_of(lambda: series(model=p, revisions=["step0", "step999"]).d_model),
    "step": error_of(lambda: series(model="allenai/tiny", steps=[900], revision_format="step{step}-tokens*")),
    "gated": error_of(lambda: series(model="meta/gated").d_model),
    "missing": error_of(lambda: series(model="EleutherAI/pythia-tini").d_model),
    "malformed": error_of(lambda: series(model="no such folder/x/y").d_model),
    "pickled": error_of(lambda: series(model="old/pickled").open(0)),
    "identity": error_of(lambda: series(model=p, revisions=["step7"]).identity(0)),
    "range": error_of(lambda: series(model=p, range={"first": 2000, "last": 3000, "count": 2}))}))
"""
    found = client.ask(code)
    expected = (
        "RevisionNotFound: EleutherAI/pythia-tiny has no revision 'step999'; the nearest are step0, step1, step512"
    )
    assert found["revision"].startswith(expected)
    assert "`ontogeny revisions EleutherAI/pythia-tiny`" in found["revision"]
    assert found["step"].startswith("RevisionNotFound: allenai/tiny has no revision 'step900-tokens*'")
    assert "step1000-tokens4B" in found["step"]
    assert f"accept its licence at {hub.endpoint}/meta/gated" in found["gated"]
    assert "neither a folder here nor a repository" in found["missing"]
    assert "neither a folder here nor a hub id" in found["malformed"]
    assert "allow_pickled_weights" in found["pickled"]
    assert "step7" in found["identity"] and "step1" in found["identity"]
    assert found["range"].startswith("RevisionNotFound: no snapshot has a step from 2000 to 3000")
    token = 'os.environ["HF_TOKEN"] = "hf_x"\n'
    ask = 'print(json.dumps(error_of(lambda: series(model="meta/gated").d_model)))\n'
    logged_in = client.ask(token + ask + 'del os.environ["HF_TOKEN"]')
    assert "accept its licence" in logged_in


FETCH = """
import hashlib
from ontogeny.snapshots.hub import download
def fetch(repository="big/file"):
    folder = download(repository, "main", ["config.json", "model*.safetensors"])
    return hashlib.sha256((folder / "model.safetensors").read_bytes())
"""


def weight_ranges(hub: Hub) -> list[str | None]:
    """The Range headers of every GET of the weights."""
    return [asked for method, path, asked in hub.requests if method == "GET" and path.endswith("model.safetensors")]


def test_cut_off_download_resumes(hub: Hub, client: Client) -> None:
    weights = hub.repositories["big/file"].branches["main"]["model.safetensors"]
    hub.cut_after["model.safetensors"] = [15_000_000]
    found = client.ask(FETCH + "print(json.dumps(fetch().hexdigest()))")
    assert found == hashlib.sha256(weights).hexdigest()
    # The client keeps what it has in pieces of 10 MiB and asks for the rest only.
    assert weight_ranges(hub) == [None, f"bytes={10 * 2**20}-"]


def test_hub_that_goes_silent_keeps_whole_files(hub: Hub, client: Client) -> None:
    hub.cut_after["model.safetensors"] = [15_000_000] + [0] * 20
    cut = client.ask(FETCH + "print(json.dumps({'error': error_of(lambda: fetch('big/other'))}))")
    assert cut["error"].startswith("SnapshotError: big/other@main could not be read from http://127.0.0.1")
    assert "run the same command again" in cut["error"]
    hub.cut_after.clear()
    hub.requests.clear()
    weights = hub.repositories["big/other"].branches["main"]["model.safetensors"]
    found = client.ask(FETCH + "print(json.dumps(fetch('big/other').hexdigest()))")
    assert found == hashlib.sha256(weights).hexdigest()
    assert weight_ranges(hub) == [None]
    assert hub.count("resolve/.*/config.json") == 0


def test_cache_is_enough_without_the_hub(hub: Hub, client: Client, cache: Path) -> None:
    code = """
s = series(model="EleutherAI/pythia-tiny", steps=[512])
print(json.dumps([s.identity(0), s.open(0).d_model, len(s.tokenizer)]))
"""
    online = client.ask(code)
    with open_client(hub.endpoint, cache, HF_HUB_OFFLINE="1") as offline:
        assert offline.ask(code) == online
    # A hub that refuses connections, without a word that the machine is offline.
    with open_client("http://127.0.0.1:9", cache) as refused:
        assert refused.ask(code) == online


def test_revisions_catalog_and_range_reads(hub: Hub, client: Client, steps: dict[str, dict[str, bytes]]) -> None:
    code = """
from dataclasses import astuple
from ontogeny.snapshots.catalog import list_revisions, render_recipe_section
from ontogeny.snapshots.hub import open_file
found = list_revisions("EleutherAI/pythia-tiny")
some = list_revisions("EleutherAI/pythia-tiny", match="step1*")
with open_file("EleutherAI/pythia-tiny", "step1", "model.safetensors") as file:
    file.seek(8)
    header = file.read(40).hex()
print(json.dumps({"all": [astuple(r) for r in found], "header": header,
    "section": render_recipe_section("EleutherAI/pythia-tiny", some)}))
"""
    found = client.ask(code)
    names = [entry[0] for entry in found["all"]]
    assert names == ["step0", "step1", "step512", "step1000", "step143000", "main", "v1"]
    _, kind, step, tokens, size, sha = found["all"][3]
    weights = steps["step1000"]["model.safetensors"]
    assert (kind, step, tokens, size) == ("branch", 1000, 1000 * 2_097_152, len(weights))
    assert sha == commit_of(steps["step1000"])
    assert found["all"][-1][1] == "tag"
    assert found["header"] == steps["step1"]["model.safetensors"][8:48].hex()
    assert 'revisions = ["step1", "step1000", "step143000"]' in found["section"]
    assert "tokens_per_step = 2097152" in found["section"]


def test_audit_over_the_hub(hub: Hub, client: Client) -> None:
    """Hashes come from the tree, slices by range request: no weights are downloaded whole."""
    code = """
from dataclasses import asdict
from ontogeny.snapshots.audit import audit_series
chosen = series(model="EleutherAI/pythia-mixed", revisions=["step0", "step1", "step512"])
whole = series(model="EleutherAI/pythia-mixed", revisions=["step0", "step512", "step143000"])
print(json.dumps({"cheap": asdict(audit_series(chosen))["findings"], "whole": asdict(audit_series(whole))["findings"],
    "deep": asdict(audit_series(chosen, deep=True))["findings"]}))
"""
    found = client.ask(code)
    # `main` is the last step under another name: no finding for it alone, but step 1 must not hold it.
    assert found["whole"] == []
    assert [(set(f["labels"]), f["severity"]) for f in found["cheap"]] == [({"step1", "revision main"}, "error")]
    assert {"step1", "revision main", "revision step143000"} in [set(f["labels"]) for f in found["deep"]]
    reads = [r for _, path, r in hub.requests if path.endswith("model.safetensors")]
    assert all(r is not None for method, path, r in hub.requests if method == "GET" and path.endswith(".safetensors"))
    assert reads
