import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.errors import CorpusError
from ontogeny.tokens.files import find_files, iter_records, split_documents

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    # Two frames, as in published dumps.
    ".zst": lambda data: zstandard.compress(data[:5]) + zstandard.compress(data[5:]),
}


@pytest.mark.parametrize("packing", PACKERS)
def test_text_and_json_lines_read_the_same_however_compressed(tmp_path: Path, packing: str) -> None:
    text, lines = tmp_path / f"a.txt{packing}", tmp_path / f"a.jsonl{packing}"
    text.write_bytes(PACKERS[packing]("één<SEP>two\n<SEP>\n".encode()))
    lines.write_bytes(PACKERS[packing](b'{"text": "one"}\n\n{"text": "two", "n": 2}\n'))
    assert list(iter_records(text, "<SEP>")) == [{"text": "één"}, {"text": "two\n"}]
    assert list(iter_records(lines, None)) == [{"text": "one"}, {"text": "two", "n": 2}]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    for name, content in (("a.txt", "one"), ("a.jsonl", '{"text": "one"}')):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        assert list(iter_records(tmp_path / name, None)) == [{"text": "one"}]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one", "two"], "n": [1, 2]}), path)
    assert list(iter_records(path, None)) == [{"text": "one", "n": 1}, {"text": "two", "n": 2}]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.docx", b"", ".jsonl"),
        ("a.jsonl", b'{"text": 1}\n{oops\n', "line 2"),
        ("a.jsonl", b"[1]\n", "line 1"),
        ("a.txt.gz", gzip.compress(b"hello world", mtime=0)[:-9], "a.txt.gz"),
        ("a.txt.zst", b"no zstandard here", "a.txt.zst"),
        ("a.txt.zst", zstandard.compress(b"one") + zstandard.compress(b"two")[:-2], "a.txt.zst"),
        ("a.txt", b"\xff\xfe\xfd", "a.txt"),
        ("a.parquet", b"PAR1 torn", "a.parquet"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path: Path, name: str, content: bytes, named: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        list(iter_records(path, None))
    assert named in str(caught.value)


def test_globs_folders_and_missing_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.jsonl.zst", "d.bin"):
        (tmp_path / name).write_text(json.dumps(name))
    assert [path.name for path in find_files(f"{tmp_path}/*.txt")] == ["a.txt", "b.txt"]
    assert [path.name for path in find_files(str(tmp_path))] == ["a.txt", "b.txt", "c.jsonl.zst"]
    with pytest.raises(CorpusError, match="nothing-here"):
        find_files(f"{tmp_path}/nothing-here*")


@given(st.text("ab|", max_size=40), st.integers(1, 7))
def test_splitting_does_not_depend_on_how_the_text_arrives(text: str, size: int) -> None:
    chunks = iter([text[i : i + size] for i in range(0, len(text), size)])
    assert list(split_documents(chunks, "||")) == [part for part in text.split("||") if part]
