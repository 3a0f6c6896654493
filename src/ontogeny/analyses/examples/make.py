"""Examples of all latents, block after block; each block is kept in scratch, so a killed run goes on behind it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.examples.choose import Chosen, choose_examples
from ontogeny.analyses.examples.config import ExamplesConfig
from ontogeny.analyses.examples.tables import (
    EXAMPLES_COLUMNS,
    EXAMPLES_SCHEMA,
    SOURCES_COLUMNS,
    SOURCES_SCHEMA,
    example_rows,
    source_rows,
)
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import Documents
from ontogeny.latents.windows import PassPlaces, compute_evidence
from ontogeny.results import Column, Result, Table, View
from ontogeny.tokens.token_texts import TokenTexts
from ontogeny.workspace import disk_errors

BLOCK_PAIRS, BLOCK_NUMBERS = 1 << 22, 1 << 26
"""Pairs, and numbers in windows (windows x places x sources), that are worked on together."""


def make_examples(inputs: AnalysisInputs, config: ExamplesConfig) -> Result:
    """Choose, cut out the text, compute what each source says, and declare the tables over what lies in scratch."""
    codes = inputs.codes
    assert codes is not None, "examples are chosen from the code cache"
    documents = Documents.from_columns(codes.columns)
    places = PassPlaces.from_columns(codes.columns, inputs.corpus)
    texts = TokenTexts(inputs.series.tokenizer)
    inputs.scratch.mkdir(parents=True, exist_ok=True)
    numbers = config.windows_a_latent * (config.before + 1 + config.after) * len(codes.sources)
    parts: list[tuple[Path, Path]] = []
    for block in codes.iter_blocks(BLOCK_PAIRS, max(1, BLOCK_NUMBERS // numbers)):
        part = (inputs.scratch / f"examples-{block.first:09d}", inputs.scratch / f"sources-{block.first:09d}")
        if not all(path.is_file() for path in part):
            _make_part(inputs, config, block, documents, places, texts, part)
        parts.append(part)
    summary = {
        "n_latents": codes.n_latents,
        "n_tokens": codes.n_tokens,
        "with_examples": int((codes.counts > 0).sum()),
        "n_examples": sum(_count_rows(first) for first, _ in parts),
    }
    tables = (
        _table("examples", EXAMPLES_COLUMNS, EXAMPLES_SCHEMA, [first for first, _ in parts], 4_096),
        _table("example_sources", SOURCES_COLUMNS, SOURCES_SCHEMA, [second for _, second in parts], 16_384),
    )
    views = (View("tokens", "examples", "Examples", x="tokens", group="kind", value="values"),)
    return Result("examples", tables, views, summary)


def _make_part(
    inputs: AnalysisInputs,
    config: ExamplesConfig,
    block: LatentBlock,
    documents: Documents,
    places: PassPlaces,
    texts: TokenTexts,
    part: tuple[Path, Path],
) -> None:
    """The rows of a block's latents, on disk."""
    chosen: Chosen = choose_examples(block, documents, config)
    windows = places.windows(chosen.tokens, config.before, config.after)
    values = windows.codes(block, chosen.latents)
    named = np.asarray(places.columns.document)[chosen.tokens]
    _save(part[0], example_rows(block, chosen, windows, values, named, texts))
    # A token may stand in several lists of a latent; what the sources say of it is computed and kept once.
    once = np.unique(chosen.latents << 32 | chosen.tokens, return_index=True)[1]
    latents, windows, values = chosen.latents[once], windows.take(once), values[once]
    evidence = compute_evidence(inputs.dictionary, inputs.held_out, windows, block.first + latents)
    _save(part[1], source_rows(block, latents, windows, values, evidence, inputs.dictionary.sources_out))


def _save(path: Path, batch: pa.RecordBatch) -> None:
    """Straight to the file: as bytes in memory these lists would be copied twice."""
    temporary = path.with_suffix(".tmp")
    with disk_errors(path), pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    temporary.replace(path)


def _count_rows(path: Path) -> int:
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))


def _table(
    name: str, columns: tuple[Column, ...], schema: pa.Schema, paths: Sequence[Path], row_group_rows: int
) -> Table:
    """A stream over the files, which are deleted as they are passed."""

    def batches() -> Iterator[pa.RecordBatch]:
        for path in paths:
            with pa.memory_map(str(path)) as file:
                reader = pa.ipc.open_file(file)
                yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
            path.unlink()

    data = pa.RecordBatchReader.from_batches(schema, batches())
    return Table(name, columns, data, sorted_by=("latent",), row_group_rows=row_group_rows)
