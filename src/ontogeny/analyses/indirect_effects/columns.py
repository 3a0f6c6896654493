"""The columns of the tables of indirect effects, and tables out of arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ontogeny.results import Column, Table

EFFECTS = (
    Column("latent", "1", "index of the latent"),
    Column("behaviour", "1", "name of the behaviour"),
    Column("source", "1", "source in which the latent is changed"),
    Column("step", "optimizer steps", "training step of its snapshot, null where unknown"),
    Column("n", "1", "prompts that the mean is over"),
    Column("n_prompts", "1", "prompts on which the latent has an effect"),
    Column("n_clusters", "1", "clusters of prompts on which it has"),
    Column("effect", "nats", "mean indirect effect; positive: it supports the right answer"),
    Column("effect_se", "nats", "its standard error over clusters"),
    Column("p", "1", "of: the mean is 0; sign flips of clusters, pooled over latents and sources; null if not tested"),
    Column("q", "1", "adjusted over all latents and sources of the behaviour"),
    Column("p_family", "1", "against the largest of all under the same flips"),
    Column("significant", "1", "whether q is at most the share of false discoveries allowed"),
)
RELIE = (
    Column("latent", "1", "index of a latent with a significant effect"),
    Column("behaviour", "1", "name of the behaviour"),
    Column("hook_point", "1", "hook point of the series"),
    Column("class", "1", "shape of its effect over training"),
    Column("class_probability", "fraction", "draws of clusters that give this class"),
    Column("n_effective", "1", "effective number of sources: 1 specific to one, K shared by all"),
    Column("support", "1", "fewest sources that hold 90 % of the share"),
    Column("peak_source", "1", "source with the largest share"),
    Column("effect", "nats", "mean effect there"),
    Column("effect_se", "nats", "its standard error over clusters"),
    Column("n_clusters", "1", "clusters of prompts on which the latent has an effect"),
    Column("half_rise", "octaves", "when its size first rises through half; null where it never does"),
    Column("half_rise_low", "octaves", "its 95 % interval over draws of clusters"),
    Column("half_rise_high", "octaves", "its upper end"),
    Column("half_rise_step", "optimizer steps", "the same as a training step"),
    Column("half_life", "octaves", "time from the peak until its size is half"),
    Column("half_life_censored", "1", "whether that never happens: half_life is a lower bound"),
    Column("centre", "octaves", "mean time, weighted by share"),
    Column("reverses", "1", "whether effects of both signs are significant"),
    Column("legacy_class", "1", "group by the published thresholds of raw shares"),
)
SHARES = (
    Column("latent", "1", "index of a latent with a significant effect"),
    Column("behaviour", "1", "name of the behaviour"),
    Column("source", "1", "the source"),
    Column("step", "optimizer steps", "training step of its snapshot, null where unknown"),
    Column("n", "1", "prompts that effects are means over"),
    Column("share", "fraction", "RelIE: its size over the sum of sizes; null where it is 0 in all"),
    Column("share_low", "fraction", "its 95 % interval over draws of clusters"),
    Column("share_high", "fraction", "its upper end"),
    Column("signed_share", "fraction", "share with the sign of the effect"),
    Column("size", "1", "effect over the source's total effect, less what noise adds"),
    Column("norm_share", "fraction", "share of the decoder's norm, normalised space"),
    Column("held_share", "fraction", "the same with shrinkage undone by latent scaling on the clean prompts"),
    Column("legacy_share", "fraction", "as published: share of |effect|"),
)
VERIFICATION = (
    Column("behaviour", "1", "name of the behaviour"),
    Column("source", "1", "the source"),
    Column("step", "optimizer steps", "training step of its snapshot, null where unknown"),
    Column("baseline", "1", "where the path ends"),
    Column("n_candidates", "1", "strongest latents of one half of the clusters"),
    Column("n", "1", "prompts of the other half on which they were patched one by one"),
    Column("r", "1", "correlation of estimated and exact mean effects; null with fewer than 3 candidates"),
    Column("slope", "1", "slope of exact on estimated"),
    Column("completeness_gap", "fraction", "|effects and error - what the path changes| over what it changes"),
    Column("poor", "1", "r below 0.9, a slope outside `sound_slopes`, or a gap above 0.2"),
)
TOTALS = (
    Column("behaviour", "1", "name of the behaviour"),
    Column("source", "1", "the source"),
    Column("step", "optimizer steps", "training step of its snapshot, null where unknown"),
    Column("n", "1", "prompts"),
    Column("n_clusters", "1", "independent groups of prompts"),
    Column("accuracy", "fraction", "prompts whose right answer is likelier; null without wrong answers"),
    Column("accuracy_se", "fraction", "its standard error over clusters"),
    Column("metric_clean", "nats", "mean metric on the clean prompts"),
    Column("change", "nats", "mean of what the path changes"),
    Column("change_se", "nats", "its standard error over clusters"),
    Column("latents_effect", "nats", "mean sum of all latents' effects"),
    Column("error_effect", "nats", "mean effect of what the dictionary leaves unexplained"),
    Column("error_effect_se", "nats", "its standard error over clusters"),
)
GROUPS = (
    Column("by", "1", "behaviour, phenomenon or language"),
    Column("group", "1", "which"),
    Column("source", "1", "the source"),
    Column("rank", "1", "0 is the largest |effect|"),
    Column("latent", "1", "index of the latent"),
    Column("effect", "nats", "mean effect over the group's prompts"),
    Column("effect_se", "nats", "its standard error over clusters"),
    Column("n", "1", "prompts of the group"),
    Column("n_clusters", "1", "clusters of the group"),
)
OVERLAPS = (
    Column("by", "1", "what is compared: behaviours, phenomena, languages, or sources of one of them"),
    Column("group", "1", "one of two"),
    Column("other", "1", "the other"),
    Column("source", "1", "where, null if sources are compared"),
    Column("k", "1", "strongest latents compared"),
    Column("shared", "1", "how many are the same"),
    Column("jaccard", "fraction", "shared over those in either"),
)
LEGACY = (
    Column("latent", "1", "index of the latent; one that is not listed has no effect anywhere"),
    Column("behaviour", "1", "name of the behaviour"),
    Column("hook_point", "1", "hook point of the series"),
    Column("source", "1", "the source"),
    Column("step", "optimizer steps", "training step of its snapshot, null where unknown"),
    Column("n", "1", "prompts"),
    Column("effect", "nats", "as published: means over all slots of padded batches, summed, over the prompts"),
    Column("rank", "1", "0 is the largest |effect| of the source"),
    Column("share", "fraction", "as published: |effect| over the sum of the series; 0.5 in all where that is 0"),
    Column("group", "1", "as published: who has more than 0.7, or at least 0.3, of it"),
)
LEGACY_PAIRS = (
    Column("latent", "1", "index of the latent"),
    Column("behaviour", "1", "name of the behaviour"),
    Column("hook_point", "1", "hook point of the series"),
    Column("early", "1", "the earlier source"),
    Column("late", "1", "the later source"),
    Column("n", "1", "prompts"),
    Column("share", "fraction", "as published: the later one's part of both; null for 0/0"),
)
_TEXT = {
    "early",
    "late",
    "behaviour",
    "source",
    "hook_point",
    "class",
    "peak_source",
    "legacy_class",
    "baseline",
    "by",
    "group",
    "other",
}
_COUNTS = {"latent", "step", "n", "n_prompts", "n_clusters", "support", "n_candidates", "rank", "k", "shared"}
_FLAGS = {"significant", "half_life_censored", "reverses", "poor"}


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow types of these columns."""
    kinds = {
        **dict.fromkeys(_TEXT, pa.string()),
        **dict.fromkeys(_COUNTS, pa.int64()),
        **dict.fromkeys(_FLAGS, pa.bool_()),
    }
    return pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in columns])


def make_table(
    name: str, columns: tuple[Column, ...], blocks: list[Mapping[str, Any]], sorted_by: tuple[str, ...] = ()
) -> Table:
    """A table out of blocks of columns (arrays of one length, or one value for the whole block); NaN becomes null."""
    schema = schema_of(columns)
    tables = [pa.table([_array(block, field) for field in schema], schema=schema) for block in blocks]
    return Table(name, columns, pa.concat_tables([schema.empty_table(), *tables]), sorted_by=sorted_by)


def _array(block: Mapping[str, Any], field: pa.Field) -> pa.Array:
    length = max(len(value) for value in block.values() if isinstance(value, (list, np.ndarray)))
    value = block[field.name]
    if not isinstance(value, (list, np.ndarray)):
        value = [value] * length
    return pa.array(value, type=field.type, from_pandas=True)
