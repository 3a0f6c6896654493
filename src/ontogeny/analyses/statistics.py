"""How often and how strongly is each latent on, in each source, and on which kinds of tokens?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import Field

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.config import Config
from ontogeny.results import Column, Result, Table, View

if TYPE_CHECKING:
    from ontogeny.latents.blocks import LatentBlock
    from ontogeny.latents.cache import CodeCache
    from ontogeny.latents.statistics import Strengths

QUANTILES = {"q50": 0.5, "q90": 0.9, "q99": 0.99}
BLOCK_PAIRS, BLOCK_LATENTS = 1 << 20, 1 << 13
"""Pairs and latents looked at together; tables are written block by block and never held whole."""


class StatisticsConfig(Config):
    """Statistics of every latent: counts, density, strengths and quantiles, by source and by group of tokens."""

    histogram_bins: int = Field(24, ge=1, le=1024)
    """Equal bins of each latent's histogram, from 0 to its largest code."""


_LATENT = Column("latent", "1", "index of the latent")
_ACTIVE = Column("n_active", "tokens", "tokens on which it is on")
_DENSITY = (
    Column("density", "fraction", "n_active over tokens"),
    Column("density_se", "fraction", "standard error of density over documents; null where it is never on"),
)
_QUANTILES = tuple(Column(name, "1", f"{q:.0%} quantile of the same, exact") for name, q in QUANTILES.items())
LATENTS = (
    _LATENT,
    Column("n_tokens", "tokens", "tokens of the pass"),
    _ACTIVE,
    *_DENSITY,
    Column("mean", "1", "mean code over active tokens; null for a dead latent"),
    Column("mean_se", "1", "standard error of mean over documents"),
    Column("max", "1", "largest code"),
    *_QUANTILES,
)
LATENT_SOURCES = (
    _LATENT,
    Column("source", "1", "name of the source"),
    _ACTIVE,
    *_DENSITY,
    Column("mean_contribution", "1", "mean of code · decoder norm (normalised space) where the source's gate is on"),
    Column("mean_se", "1", "standard error of mean_contribution over documents"),
    Column("max_contribution", "1", "largest contribution"),
    *_QUANTILES,
)
GROUPS = (
    _LATENT,
    Column("group", "1", "which tokens: text/ a text source, mask/ a mask of the corpus, position/ places in the row"),
    Column("n_group_tokens", "tokens", "tokens of the group"),
    _ACTIVE,
    *_DENSITY,
    Column("share", "fraction", "share of the latent's active tokens that lie in the group; null for a dead latent"),
    Column("share_se", "fraction", "standard error of share over documents; null where share is 0 or 1"),
)
HISTOGRAM = (
    _LATENT,
    Column("bin", "1", "number of the bin; a dead latent has none"),
    Column("lower", "1", "lower edge, in codes"),
    Column("upper", "1", "upper edge; the last bin holds it"),
    Column("count", "tokens", "active tokens in the bin"),
)
_WHOLE = {"latent", "n_tokens", "n_active", "n_group_tokens", "bin", "count"}
_WORDS = {"source", "group"}


def run(inputs: AnalysisInputs, config: StatisticsConfig) -> Result:
    """Go through the code cache by blocks of latents; the tables are streams, made while they are saved."""
    from ontogeny.latents.documents import Documents
    from ontogeny.latents.statistics import compute_group_shares, compute_source_strengths, compute_strengths
    from ontogeny.latents.token_groups import GroupsOfPass

    codes = inputs.codes
    assert codes is not None, "statistics are made of the code cache"
    documents = Documents.from_columns(codes.columns)
    groups = GroupsOfPass.from_columns(codes.columns, inputs.corpus)
    sizes = groups.sizes(documents)
    quantiles = tuple(QUANTILES.values())
    names = list(inputs.dictionary.sources_out)

    def of_latents(block: LatentBlock) -> list[object]:
        return [np.full(block.n_latents, codes.n_tokens), *_strengths(compute_strengths(block, documents, quantiles))]

    def of_sources(block: LatentBlock) -> list[object]:
        shared = compute_strengths(block, documents, quantiles)
        each = compute_source_strengths(block, documents, quantiles, shared)
        columns = zip(*(_strengths(strengths) for strengths in each), strict=True)
        return [_repeated_words(names, block.n_latents), *(np.stack(column, axis=1).reshape(-1) for column in columns)]

    def of_groups(block: LatentBlock) -> list[object]:
        found = compute_group_shares(block, documents, groups, sizes)
        totals = np.tile(found.n_tokens, block.n_latents)
        numbers = (found.n_active, found.density, found.density_se, found.share, found.share_se)
        return [_repeated_words(groups.names, block.n_latents), totals, *(each.reshape(-1) for each in numbers)]

    dead = int((codes.counts == 0).sum())
    summary = {
        "n_latents": codes.n_latents,
        "n_tokens": codes.n_tokens,
        "n_documents": documents.n_documents,
        "dead": dead,
        "l0": codes.n_pairs / max(codes.n_tokens, 1),
        "groups": list(groups.names),
    }
    tables = (
        _table("latents", LATENTS, codes, 1, of_latents),
        _table("latent_sources", LATENT_SOURCES, codes, len(names), of_sources),
        _table("groups", GROUPS, codes, len(groups.names), of_groups),
        _histogram(codes, config.histogram_bins),
    )
    views = (
        View("histogram", "latents", "How often latents are on", x="density", log_x=True),
        View("scatter", "latents", "Density and strength", x="density", y=("mean",), log_x=True, log_y=True),
        View("table", "latents", "Latents"),
    )
    return Result("statistics", tables, views, summary)


def _strengths(strengths: Strengths) -> list[np.ndarray]:
    first = (strengths.n_active, strengths.density, strengths.density_se)
    return [*first, strengths.mean, strengths.mean_se, strengths.largest, *strengths.quantiles]


def _repeated_words(words: list[str] | tuple[str, ...], times: int) -> pa.Array:
    """The words, over and over, without a Python string each."""
    return pa.array(list(words), pa.string()).take(pa.array(np.tile(np.arange(len(words)), times)))


def _table(
    name: str,
    columns: tuple[Column, ...],
    codes: CodeCache,
    rows_a_latent: int,
    compute: Callable[[LatentBlock], list[object]],
) -> Table:
    """A stream of record batches, one a block; `compute` gives every column but `latent`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for block in codes.iter_blocks(BLOCK_PAIRS, BLOCK_LATENTS):
            latents = np.repeat(np.arange(block.first, block.first + block.n_latents), rows_a_latent)
            yield _batch(columns, [latents, *compute(block)])

    data = pa.RecordBatchReader.from_batches(_schema(columns), batches())
    return Table(name, columns, data, sorted_by=("latent",))


def _histogram(codes: CodeCache, n_bins: int) -> Table:
    from ontogeny.latents.statistics import compute_histogram

    def batches() -> Iterator[pa.RecordBatch]:
        for block in codes.iter_blocks(BLOCK_PAIRS, BLOCK_LATENTS):
            counts, edges = compute_histogram(block, n_bins)
            alive = np.flatnonzero(block.counts)
            bins = np.tile(np.arange(n_bins), len(alive))
            lower, upper = edges[alive, :-1].reshape(-1), edges[alive, 1:].reshape(-1)
            yield _batch(
                HISTOGRAM, [np.repeat(block.first + alive, n_bins), bins, lower, upper, counts[alive].reshape(-1)]
            )

    return Table(
        "histogram", HISTOGRAM, pa.RecordBatchReader.from_batches(_schema(HISTOGRAM), batches()), sorted_by=("latent",)
    )


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    def kind(name: str) -> pa.DataType:
        return pa.string() if name in _WORDS else pa.int64() if name in _WHOLE else pa.float64()

    return pa.schema([(column.name, kind(column.name)) for column in columns])


def _batch(columns: tuple[Column, ...], values: list[object]) -> pa.RecordBatch:
    """One record batch; NaN becomes null."""
    arrays = [each if isinstance(each, pa.Array) else pa.array(each, from_pandas=True) for each in values]
    return pa.RecordBatch.from_arrays(arrays, schema=_schema(columns))


STATISTICS = Analysis("statistics", StatisticsConfig, frozenset({"dictionary", "held_out", "codes"}), run)
