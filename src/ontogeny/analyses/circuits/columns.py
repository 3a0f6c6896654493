"""The columns of the tables of circuits, and tables out of rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ontogeny.results import Column, Table

_BEHAVIOUR = Column("behaviour", "1", "name of the behaviour")
_SNAPSHOT = Column("snapshot", "1", "label of the snapshot")
_STEP = Column("step", "optimizer steps", "its training step, null where unknown")
_N = Column("n", "1", "prompts that the mean is over")
_TESTS = (
    Column("p", "1", "of: the mean is 0; sign flips of clusters, pooled; null if not tested"),
    Column("q", "1", "adjusted over all edges and snapshots of the behaviour"),
    Column("p_family", "1", "against the largest of all under the same flips"),
    Column("significant", "1", "whether q is at most the share of false discoveries allowed"),
)
VERIFICATION = (
    _BEHAVIOUR,
    _SNAPSHOT,
    _STEP,
    Column("baseline", "1", "where what moves goes"),
    Column("n_candidates", "1", "strongest edges on one half of the clusters"),
    Column("n", "1", "prompts of the other half on which they were patched one by one"),
    Column("r", "1", "correlation of estimated and exact mean effects of edges; null with fewer than 3"),
    Column("slope", "1", "slope of exact on estimated"),
    Column("gap", "fraction", "|effect of all that moves upstream, held and linear - what it changes| over the latter"),
    Column("poor", "1", "r below 0.9, a slope outside 0.5 to 2, or a gap above 0.2"),
)
EDGES = (
    Column("edge", "1", "both latents, upstream and downstream"),
    Column("upstream", "1", "index of the latent that the edge begins in"),
    Column("downstream", "1", "index of the latent that reads it"),
    _BEHAVIOUR,
    _SNAPSHOT,
    _STEP,
    Column("effect", "nats", "mean effect on the metric; positive: the edge supports the right answer"),
    Column("effect_se", "nats", "its standard error over clusters"),
    Column("effect_low", "nats", "its 95 % interval over draws of clusters"),
    Column("effect_high", "nats", "its upper end"),
    *_TESTS,
    Column("in_circuit", "1", "whether it is in the snapshot's circuit"),
    _N,
    Column("n_prompts", "1", "prompts on which the edge has an effect"),
    Column("n_clusters", "1", "clusters of prompts on which it has"),
)
NODES = (
    Column("side", "1", "upstream or downstream"),
    Column("latent", "1", "index of the latent"),
    _BEHAVIOUR,
    _SNAPSHOT,
    _STEP,
    Column("effect", "nats", "mean indirect effect of the latent itself"),
    Column("effect_se", "nats", "its standard error over clusters"),
    Column("by_edges", "nats", "what comes of it through edges to, or from, the chosen latents of the other side"),
    Column("by_others", "nats", "what the other upstream latents bring to a downstream one; null upstream"),
    Column("by_error", "nats", "what the unexplained upstream brings to a downstream one; null upstream"),
    Column("rest", "nats", "upstream: goes past the chosen latents; downstream: other snapshots' say, gates, bends"),
    _N,
    Column("n_clusters", "1", "independent groups of prompts"),
)
PARTS = (
    _BEHAVIOUR,
    _SNAPSHOT,
    _STEP,
    Column("part", "1", "of what the movement downstream changes; the parts add up to it"),
    Column("effect", "nats", "mean over prompts"),
    Column("effect_se", "nats", "its standard error over clusters"),
    _N,
    Column("n_clusters", "1", "independent groups of prompts"),
)
CURVES = (
    _BEHAVIOUR,
    _SNAPSHOT,
    _STEP,
    Column("mode", "1", "prune: only traced edges outside of the circuit move; keep: all else moves; ablate: it moves"),
    Column("ranking", "1", "effect; random, or matched in weight: means over draws"),
    Column("n_edges", "1", "edges in the circuit, ranked on the other half of the clusters"),
    Column("metric", "nats", "mean metric"),
    Column("share", "fraction", "prune, keep: faithfulness; ablate: what is left; null without a change to share"),
    Column("share_low", "fraction", "its 95 % interval over draws of clusters"),
    Column("share_high", "fraction", "its upper end"),
    Column("n", "1", "prompts"),
    Column("n_clusters", "1", "independent groups of them"),
    Column("n_seeds", "1", "draws of a control, 1 for effect"),
)
ASSEMBLY = (
    _BEHAVIOUR,
    _SNAPSHOT,
    _STEP,
    Column("change", "nats", "mean of what going to the baseline downstream changes"),
    Column("change_se", "nats", "its standard error over clusters"),
    Column("edges_effect", "nats", "mean sum of all traced edges' effects"),
    Column("edges_effect_se", "nats", "its standard error over clusters"),
    Column("reach", "fraction", "of the change, what moving all traced edges makes; null without a change"),
    Column("reach_low", "fraction", "its 95 % interval over draws of clusters"),
    Column("reach_high", "fraction", "its upper end"),
    Column("n_edges", "1", "traced edges with an effect on any prompt"),
    Column("n_significant", "1", "of these, significant ones"),
    Column("n_circuit", "1", "edges of the circuit: fewest that hold the share asked for of all that count"),
    Column("n_enough", "1", "edges of the smallest circuit run that keeps that share of what all traced edges do"),
    Column("n_effective", "1", "effective number of edges: 1 where one holds all"),
    Column("jaccard_last", "fraction", "circuit in common with the last snapshot's: edges in both over in either"),
    Column("overlap_last", "fraction", "the same of all edges by size: sum of the smaller over sum of the larger"),
    Column("jaccard_before", "fraction", "circuit in common with that of the snapshot before"),
    _N,
    Column("n_clusters", "1", "independent groups of prompts"),
)
_TEXT = {"behaviour", "snapshot", "baseline", "edge", "side", "part", "mode", "ranking"}
_COUNTS = {"step", "upstream", "downstream", "latent"}
_FLAGS = {"significant", "in_circuit", "poor"}


def make_table(
    name: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], sorted_by: tuple[str, ...] = ()
) -> Table:
    """A table out of rows; NaN becomes null."""
    schema = pa.schema([(column.name, _type(column.name)) for column in columns])
    arrays = [pa.array([row[field.name] for row in rows], type=field.type, from_pandas=True) for field in schema]
    return Table(name, tuple(columns), pa.table(arrays, schema=schema), sorted_by=sorted_by)


def _type(name: str) -> pa.DataType:
    if name in _TEXT:
        return pa.string()
    if name in _FLAGS:
        return pa.bool_()
    is_count = name in _COUNTS or name == "n" or (name.startswith("n_") and name != "n_effective")
    return pa.int64() if is_count else pa.float64()
