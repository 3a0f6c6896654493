"""The rows of the two tables, made of flat arrays: no Python object a token."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from ontogeny.analyses.examples.choose import KINDS, Chosen
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.windows import Windows
from ontogeny.results import Column
from ontogeny.tokens.token_texts import TokenTexts

EXAMPLES_COLUMNS = (
    Column("latent", "1", "index of the latent; a dead one has no rows"),
    Column("kind", "1", "top, bin (by quantile), level (by fraction of the maximum), control (silent all over)"),
    Column("bin", "1", "number of the bin or level, 0 the weakest; null for top and control"),
    Column("rank", "1", "0 is the first of its list; no two of a list are from one document"),
    Column("document", "1", "number of the document, null where there is none"),
    Column("row", "1", "row of the corpus"),
    Column("position", "1", "place of the marked token in the row"),
    Column("value", "1", "code on the marked token; 0 for a control"),
    Column("quantile", "fraction", "share of the latent's active tokens that are no stronger; 0 for a control"),
    Column("of_max", "fraction", "value over the latent's largest code"),
    Column("at", "1", "index of the marked token in the lists"),
    Column("tokens", "1", "the window's tokens as text"),
    Column("token_ids", "1", "their ids"),
    Column("values", "1", "the code on each; null where a mask leaves the token out of the pass"),
)
EXAMPLES_SCHEMA = pa.schema(
    [
        ("latent", pa.int64()),
        ("kind", pa.string()),
        *((name, pa.int64()) for name in ("bin", "rank", "document", "row", "position")),
        *((name, pa.float64()) for name in ("value", "quantile", "of_max")),
        ("at", pa.int64()),
        ("tokens", pa.list_(pa.string())),
        ("token_ids", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float32())),
    ]
)
SOURCES_COLUMNS = (
    Column("latent", "1", "index of the latent"),
    Column("row", "1", "row of the corpus"),
    Column("position", "1", "place of the marked token in the row: with latent and row it names the example"),
    Column("source", "1", "name of the source"),
    Column("gate", "1", "whether the latent is on in this source, for each token of the window"),
    Column("evidence", "1", "(W_enc[j, s] · x_s) ‖W_dec[j, s]‖ for each, normalised space; null where s is not read"),
)
SOURCES_SCHEMA = pa.schema(
    [
        ("latent", pa.int64()),
        ("row", pa.int64()),
        ("position", pa.int64()),
        ("source", pa.string()),
        ("gate", pa.list_(pa.bool_())),
        ("evidence", pa.list_(pa.float32())),
    ]
)


def example_rows(
    block: LatentBlock,
    chosen: Chosen,
    windows: Windows,
    values: Float[np.ndarray, "window place"],
    documents: Int[np.ndarray, " window"],
    texts: TokenTexts,
) -> pa.RecordBatch:
    """Rows of the table `examples`; `values` are the codes in the windows, `documents` the corpus's own numbers."""
    at = windows.at
    value = windows.at_marked(values)
    largest = block.quantile(1.0)[chosen.latents]
    ids = windows.ids[windows.inside]
    unseen = (windows.tokens < 0)[windows.inside]
    columns = [
        pa.array(block.first + chosen.latents),
        pa.array(list(KINDS)).take(pa.array(chosen.kinds)),
        pa.array(chosen.bins, mask=chosen.bins < 0),
        pa.array(chosen.ranks),
        pa.array(documents.astype(np.int64), mask=documents < 0),
        pa.array(windows.rows.astype(np.int64)),
        pa.array(windows.marked.astype(np.int64)),
        pa.array(value.astype(np.float64)),
        pa.array(block.rank_shares(chosen.latents, value)),
        pa.array(value / largest),
        pa.array(at),
        _lists(windows, texts.of(ids)),
        _lists(windows, pa.array(ids, pa.int32())),
        _lists(windows, pa.array(values[windows.inside], mask=unseen)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EXAMPLES_SCHEMA)


def source_rows(
    block: LatentBlock,
    latents: Int[np.ndarray, " window"],
    windows: Windows,
    values: Float[np.ndarray, "window place"],
    evidence: Float[np.ndarray, "window source place"],
    sources: Sequence[str],
) -> pa.RecordBatch:
    """Rows of the table `example_sources`: every source of every window; `latents` count from the block's first."""
    n_sources = len(sources)
    spread = np.broadcast_to(latents[:, None], values.shape)
    inside = np.broadcast_to(windows.inside[:, None, :], evidence.shape)
    gates = np.stack([block.gate_at(source, spread, windows.tokens, values) for source in range(n_sources)], axis=1)
    lengths = np.repeat(windows.inside.sum(axis=1), n_sources)
    columns = [
        pa.array(np.repeat(block.first + latents, n_sources)),
        pa.array(np.repeat(windows.rows.astype(np.int64), n_sources)),
        pa.array(np.repeat(windows.marked.astype(np.int64), n_sources)),
        pa.array(list(sources), pa.string()).take(pa.array(np.tile(np.arange(n_sources), len(latents)))),
        _lists_of(lengths, pa.array(gates[inside])),
        _lists_of(lengths, pa.array(evidence[inside], from_pandas=True)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SOURCES_SCHEMA)


def _lists(windows: Windows, flat: pa.Array) -> pa.ListArray:
    """One list a window."""
    return _lists_of(windows.inside.sum(axis=1), flat)


def _lists_of(lengths: Int[np.ndarray, " list"], flat: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    assert offsets[-1] < 1 << 31, "a block's lists are too long for 32-bit offsets"
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
