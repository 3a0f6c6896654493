"""Text streamed from a hub data set, for real: a client process against a loopback server."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from snapshots.hub_server import Hub, Repository, serve_hub
from snapshots.test_hub import Client, open_client

STREAM = """
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.text_sources import iter_documents
def texts(**keys):
    return [document.text for document in iter_documents(TextSourceConfig(kind="hub", **keys))]
"""


def parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "id": list(range(len(texts)))}), file)
    return file.getvalue()


def jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"content": text}) + "\n" for text in texts).encode()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    subsets = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("en", "de"))
    card = f"---\nconfigs:\n{subsets}---\n".encode()
    repositories = {
        "datasets/some/text": Repository(
            {
                "main": {
                    "README.md": card,
                    "en/0.parquet": parquet(["one", "two"]),
                    "en/1.parquet": parquet(["three"]),
                    "de/0.parquet": parquet(["eins"]),
                },
                "old": {"en.parquet": parquet(["before"])},
            }
        ),
        "datasets/some/lines": Repository(
            {"main": {"train.jsonl.gz": gzip.compress(jsonl(["a", "b"])), "test.jsonl.gz": gzip.compress(jsonl(["c"]))}}
        ),
        "datasets/some/gated": Repository({"main": {"train.parquet": parquet(["secret"])}}, gated=True),
        "datasets/some/script": Repository({"main": {"script.py": b"import datasets"}}),
    }
    with serve_hub(repositories) as server:
        yield server


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with open_client(hub.endpoint, tmp_path_factory.mktemp("cache")) as opened:
        yield opened


def test_text_streams_from_every_file_of_the_subset(client: Client) -> None:
    found = client.ask(
        STREAM
        + """
print(json.dumps([texts(dataset="some/text", subset="en"), texts(dataset="some/text", subset="de"),
    texts(dataset="some/text", revision="old"), texts(dataset="some/lines", column="content"),
    texts(dataset="some/lines", column="content", split="test"),
    texts(dataset="some/text", subset="de", template="<{id}> {text}")]))
"""
    )
    assert found == [["one", "two", "three"], ["eins"], ["before"], ["a", "b"], ["c"], ["<0> eins"]]


def test_what_is_not_there_is_one_sentence(client: Client, hub: Hub) -> None:
    found = client.ask(
        STREAM
        + """
print(json.dumps([error_of(lambda: texts(**keys)) for keys in (
    dict(dataset="some/tex"), dict(dataset="some/text", subset="fr"), dict(dataset="some/lines", split="validation"),
    dict(dataset="some/text", subset="en", column="txt"), dict(dataset="some/gated"),
    dict(dataset="some/text", revision="never"), dict(dataset="some/script"))]))
"""
    )
    hints = ("some/tex'", "en", "validation", "text, id", "some/gated", "never", "Python script")
    for message, hint in zip(found, hints, strict=True):
        assert message is not None and message.startswith("CorpusError: ") and hint in message, message


@pytest.mark.slow  # the hub's library tries five times
def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    with open_client("http://127.0.0.1:9", tmp_path) as nobody:
        message = nobody.ask(STREAM + 'print(json.dumps(error_of(lambda: texts(dataset="some/text"))))')
    assert message.startswith("CorpusError: ") and "some/text" in message
