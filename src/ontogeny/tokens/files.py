"""Records from files: plain text, JSON lines and Parquet, as they are or compressed with gzip or zstandard."""

import glob
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ontogeny.errors import CorpusError

Record = dict[str, Any]

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".py")
COMPRESSIONS = (".gz", ".zst")
CHUNK = 1 << 20  # characters read at once
LONGEST_DOCUMENT = 1 << 26  # characters; a longer one is cut, so that one file never fills the memory


def find_files(pattern: str) -> list[Path]:
    """Files that a path, a folder or a glob pattern (`**` descends) means, sorted; CorpusError if there are none."""
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and file_type(file) in READERS]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]  # noqa: PTH207
    if not found:
        raise CorpusError(f"no text file at {pattern!r}; give a file, a folder or a glob of {known_types()} files.")
    return sorted(found)


def file_type(path: Path) -> str:
    """The suffix that says what the file holds, compression taken off: `a.jsonl.zst` is `.jsonl`."""
    return (path.with_suffix("") if path.suffix in COMPRESSIONS else path).suffix


def iter_records(path: Path, separator: str | None) -> Iterator[Record]:
    """Records of one file in order; a text file gives one `{"text": …}` a document.

    Errors: CorpusError for a type that is not known and for damaged content, naming the file and the line.
    """
    reader = READERS.get(file_type(path))
    if reader is None:
        raise CorpusError(f"{path} is of no known type; known are {known_types()}, each also as .gz or .zst.")
    try:
        yield from reader(path, separator)
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read, is damaged or not UTF-8 ({error}); fetch it again.") from error


def known_types() -> str:
    """The suffixes that can be read, for messages."""
    return ", ".join(READERS)


def open_text(path: Path) -> io.TextIOBase:
    """A UTF-8 reader of a file (a byte order mark is no text), decompressing by suffix."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    if path.suffix == ".zst":
        import pyarrow

        # Large published dumps are many frames one after another, and a download may end inside one: zstandard's own
        # reader takes that for the end of the text, pyarrow's does not.
        return io.TextIOWrapper(pyarrow.CompressedInputStream(str(path), "zstd"), encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def split_documents(chunks: Iterator[str], separator: str | None) -> Iterator[str]:
    """Documents of a text that arrives in pieces; a separator may straddle two of them, empty documents are dropped."""
    buffer = ""
    for chunk in chunks:
        buffer += chunk
        if separator:
            *whole, buffer = buffer.split(separator)
            yield from (document for document in whole if document.strip())
        while len(buffer) > LONGEST_DOCUMENT:
            yield buffer[:LONGEST_DOCUMENT]
            buffer = buffer[LONGEST_DOCUMENT:]
    if buffer.strip():
        yield buffer


def _text_records(path: Path, separator: str | None) -> Iterator[Record]:
    with open_text(path) as file:
        for document in split_documents(iter(lambda: file.read(CHUNK), ""), separator):
            yield {"text": document}


def _json_line_records(path: Path, separator: str | None) -> Iterator[Record]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(
                    f"{path}, line {number}, is not JSON ({error.msg}); mend or drop the line."
                ) from error
            if not isinstance(record, dict):
                raise CorpusError(f"{path}, line {number}, is a {type(record).__name__}; every line must be an object.")
            yield record


def _parquet_records(path: Path, separator: str | None) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    if path.suffix in COMPRESSIONS:
        raise CorpusError(f"{path}: Parquet compresses by itself; unpack the {path.suffix} first.")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise CorpusError(f"{path} is not a whole Parquet file; fetch or write it again.") from error


READERS: dict[str, Callable[[Path, str | None], Iterator[Record]]] = {
    **dict.fromkeys(TEXT_SUFFIXES, _text_records),
    ".jsonl": _json_line_records,
    ".parquet": _parquet_records,
}
