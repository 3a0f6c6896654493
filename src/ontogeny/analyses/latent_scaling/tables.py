"""The tables of latent scaling."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.analyses.latent_scaling.spool import Spool
from ontogeny.analyses.latent_scaling.verdicts import (
    ABSENT,
    PRESENT,
    TURNED,
    UNCLEAR,
    WORDS,
    Adjusted,
    Verdicts,
    decide,
    is_found,
)
from ontogeny.results import Column, Table

RATIOS = (
    (
        "nu_error",
        "beta_error in units of that at the probe's source; 0: the latent is not there; null without a clear unit",
    ),
    ("nu_reconstruction", "beta_reconstruction in those units; high: other latents write its direction there"),
    ("nu_own", "relative_norm with its shrinkage undone, along the target's own decoder, whichever way that turned"),
    ("beta_activation", "beta on the activation"),
    ("beta_activation_no_bias", "beta on the activation less the decoder's bias"),
    ("beta_reconstruction", "beta on the reconstruction"),
    ("beta_error", "beta on the error: what the other latents leave"),
)
_ESTIMATES = [
    column
    for name, meaning in RATIOS
    for column in (Column(name, "1", meaning), Column(f"{name}_se", "1", "its standard error over documents"))
]
SCALING = (
    Column("latent", "1", "index of the latent"),
    Column("source", "1", "the target: whose activations are looked at"),
    Column("probe", "1", "the source whose decoder is looked along; nu is relative to it"),
    Column("n_active", "tokens", "held-out tokens that the latent fires on"),
    Column("relative_norm", "fraction", "decoder norm (normalised space) over that at the probe"),
    Column("verdict_norm", "1", "absent or present, by relative_norm"),
    Column("verdict_scaling", "1", "present (nu_error), turned (nu_own only), absent, unclear; null: too rare"),
    Column("complete_shrinkage", "1", "absent by norm, yet present or turned by scaling"),
    *_ESTIMATES[:6],
    Column("latent_decoupling", "1", "absent by norm, yet nu_reconstruction is above its threshold"),
    Column("survives", "1", "absent by norm, and scaling confirms it on error and reconstruction"),
    Column("delta_norm", "fraction", "((newer - older) / larger + 1) / 2 of the two norms: 1 = only in the newer"),
    Column("n_clusters", "1", "blocks of documents that it fires in; standard errors rest on them"),
    *_ESTIMATES[6:],
    Column("q_absent", "1", "adjusted p-value of: nu_error is not below its threshold"),
    Column("q_present", "1", "adjusted p-value of: nu_error is not above its threshold"),
    Column("q_own_absent", "1", "adjusted p-value of: nu_own is not below that threshold"),
    Column("q_own_present", "1", "adjusted p-value of: nu_own is not above it"),
)  # fmt: skip
PAIRS = (
    Column("source", "1", "where the latents are at home: the probe"),
    Column("other", "1", "where they are looked for"),
    Column("n", "1", "latents tested"),
    Column("absent_by_norm", "1", "of these, absent from the other by decoder norm"),
    Column("absent_by_scaling", "1", "absent from it by latent scaling"),
    Column("turned", "1", "there by latent scaling, but in another direction"),
    Column("unclear", "1", "with too large an error for a verdict"),
    Column("complete_shrinkage", "1", "absent by norm, present or turned by scaling"),
    Column("latent_decoupling", "1", "absent by norm, their direction written there by other latents"),
    Column("survives", "1", "absent by norm, and scaling confirms it"),
    Column("shrinkage_share", "fraction", "complete_shrinkage over absent_by_norm, null where that is 0"),
    Column("shrinkage_share_se", "fraction", "its binomial standard error"),
)
LATENTS = (
    Column("latent", "1", "index of the latent"),
    Column("n_active", "tokens", "held-out tokens that it fires on"),
    Column("probe", "1", "the source whose decoder is looked along"),
    Column("present_by_norm", "1", "sources it is present in by decoder norm"),
    Column(
        "present_by_scaling", "1", "sources it is present or turned in by latent scaling, null where it is too rare"
    ),
    Column("unclear", "1", "sources without a clear verdict"),
    Column("first_by_norm", "1", "first source it is present in by norm"),
    Column("first_by_scaling", "1", "first source it is present in by scaling"),
    Column("complete_shrinkage", "1", "sources with complete shrinkage"),
    Column("latent_decoupling", "1", "sources with latent decoupling"),
)
BATCH_ROWS = 65_536
THERE = (PRESENT, TURNED)


def scaling_table(
    spool: Spool,
    adjusted: Adjusted,
    norms: Float[np.ndarray, "latent source"],
    names: Sequence[str],
    config: LatentScalingConfig,
) -> Table:
    """One row a (latent, probe, source), streamed."""
    kinds = {"latent": pa.int64(), "n_active": pa.int64(), "n_clusters": pa.int64()}
    kinds |= dict.fromkeys(("source", "probe", "verdict_norm", "verdict_scaling"), pa.string())
    kinds |= dict.fromkeys(("complete_shrinkage", "latent_decoupling", "survives"), pa.bool_())
    schema = pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in SCALING])

    def rows() -> Iterator[pa.RecordBatch]:
        for batch, q, verdicts in iter_verdicts(spool, adjusted, norms, config):
            columns = _columns(batch, q, verdicts, names, config)
            yield pa.RecordBatch.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)
        spool.remove()

    reader = pa.RecordBatchReader.from_batches(schema, rows())
    return Table("scaling", SCALING, reader, sorted_by=("latent",), row_group_rows=BATCH_ROWS)


def iter_verdicts(
    spool: Spool, adjusted: Adjusted, norms: Float[np.ndarray, "latent source"], config: LatentScalingConfig
) -> Iterator[tuple[pa.RecordBatch, Adjusted, Verdicts]]:
    """Batches of whole latents with what is said of their rows."""
    first = 0
    for batch in spool:
        q = adjusted.part(slice(first, first + batch.num_rows))
        first += batch.num_rows
        yield batch, q, decide(batch, q, norms, config)


def _columns(
    batch: pa.RecordBatch, q: Adjusted, verdicts: Verdicts, names: Sequence[str], config: LatentScalingConfig
) -> dict[str, pa.Array]:
    words, places = pa.array(WORDS), pa.array(names)
    rare = batch.column("n_active").to_numpy() < config.min_tokens
    columns = {
        "latent": batch.column("latent"),
        "source": places.take(batch.column("source")),
        "probe": places.take(batch.column("probe")),
        "n_active": batch.column("n_active"),
        "n_clusters": batch.column("n_clusters"),
        "relative_norm": pa.array(verdicts.relative_norm, from_pandas=True),
        "delta_norm": pa.array(verdicts.delta_norm, from_pandas=True),
        "verdict_norm": words.take(pa.array(verdicts.by_norm)),
        "verdict_scaling": words.take(pa.array(verdicts.by_scaling)),
        "q_absent": pa.array(q.absent, from_pandas=True),
        "q_present": pa.array(q.present, from_pandas=True),
        "q_own_absent": pa.array(q.own_absent, from_pandas=True),
        "q_own_present": pa.array(q.own_present, from_pandas=True),
    }
    for name, _ in RATIOS:
        for column in (name, f"{name}_se"):
            missing = rare | ~is_found(batch) if name.startswith("nu") else rare
            values = np.where(missing, np.nan, batch.column(column).to_numpy())
            columns[column] = pa.array(values, from_pandas=True)
    for column in ("complete_shrinkage", "latent_decoupling", "survives"):
        columns[column] = pa.array(getattr(verdicts, column), mask=~verdicts.tested)
    return columns


class PairCounts:
    """Counts by (source, other), filled batch by batch."""

    NAMES = (
        "n",
        "absent_by_norm",
        "absent_by_scaling",
        "turned",
        "unclear",
        "complete_shrinkage",
        "latent_decoupling",
        "survives",
    )

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.counts = {name: np.zeros((len(names), len(names)), np.int64) for name in self.NAMES}

    def add(self, batch: pa.RecordBatch, verdicts: Verdicts) -> None:
        """Count some rows."""
        member = {
            "n": verdicts.tested,
            "absent_by_norm": verdicts.by_norm == ABSENT,
            "absent_by_scaling": verdicts.by_scaling == ABSENT,
            "turned": verdicts.by_scaling == TURNED,
            "unclear": verdicts.by_scaling == UNCLEAR,
            "complete_shrinkage": verdicts.complete_shrinkage,
            "latent_decoupling": verdicts.latent_decoupling,
            "survives": verdicts.survives,
        }
        source, probe = batch.column("source").to_numpy(), batch.column("probe").to_numpy()
        for name, chosen in member.items():
            chosen = chosen & verdicts.tested
            np.add.at(self.counts[name], (probe[chosen], source[chosen]), 1)

    def table(self) -> Table:
        """One row a pair with any latent tested, by source and other."""
        rows = []
        for probe, source in zip(*np.nonzero(self.counts["n"]), strict=True):
            row = {name: int(counts[probe, source]) for name, counts in self.counts.items()}
            base = row["absent_by_norm"]
            share = row["complete_shrinkage"] / base if base else None
            error = None if share is None else float(np.sqrt(share * (1 - share) / base))
            pair = {"source": self.names[probe], "other": self.names[source]}
            rows.append({**pair, **row, "shrinkage_share": share, "shrinkage_share_se": error})
        kinds = {"source": pa.string(), "other": pa.string()}
        kinds |= {"shrinkage_share": pa.float64(), "shrinkage_share_se": pa.float64()}
        schema = pa.schema([(column.name, kinds.get(column.name, pa.int64())) for column in PAIRS])
        return Table.from_rows("pairs", PAIRS, rows, schema)

    def total(self, name: str) -> int:
        """A count over all pairs."""
        return int(self.counts[name].sum())


def count_earlier(verdicts: Verdicts, n_sources: int) -> int:
    """Latents whose first source by scaling lies before the first by norm."""
    norm = verdicts.by_norm.reshape(-1, n_sources) == PRESENT
    scaling = np.isin(verdicts.by_scaling, THERE).reshape(-1, n_sources)
    both = norm.any(1) & scaling.any(1)
    return int((both & (scaling.argmax(1) < norm.argmax(1))).sum())


def latent_rows(batch: pa.RecordBatch, verdicts: Verdicts, names: Sequence[str]) -> pa.RecordBatch:
    """One row a (latent, probe) of a batch of whole latents: where it is present, by norm and by scaling."""
    n_sources = len(names)

    def by_latent(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, n_sources)

    norm, scaling = by_latent(verdicts.by_norm) == PRESENT, np.isin(by_latent(verdicts.by_scaling), THERE)
    tested, places = by_latent(verdicts.tested).any(1), pa.array([*names, None])

    def first(present: np.ndarray) -> pa.Array:
        return places.take(pa.array(np.where(present.any(1), present.argmax(1), n_sources)))

    def count(values: np.ndarray) -> pa.Array:
        return pa.array(by_latent(values).sum(1), mask=~tested)

    return pa.RecordBatch.from_arrays(
        [
            pa.array(by_latent(batch.column("latent").to_numpy())[:, 0]),
            pa.array(by_latent(batch.column("n_active").to_numpy())[:, 0]),
            places.take(pa.array(by_latent(batch.column("probe").to_numpy())[:, 0])),
            pa.array(norm.sum(1)),
            pa.array(scaling.sum(1), mask=~tested),
            count(verdicts.by_scaling == UNCLEAR),
            first(norm),
            first(scaling),
            count(verdicts.complete_shrinkage),
            count(verdicts.latent_decoupling),
        ],
        names=[column.name for column in LATENTS],
    )
