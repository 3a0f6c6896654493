"""The tables of a comparison by patches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ontogeny.analyses.patched_kl.estimates import Estimates
from ontogeny.analyses.patched_kl.patches import Described
from ontogeny.results import Column, Table
from ontogeny.types import HookPoint

GROUP = (
    Column("group", "1", "which tokens are predicted"),
    Column("n", "tokens", "predictions"),
    Column("n_documents", "1", "documents they lie in"),
)
MEASURES = (
    Column("kl", "nats", "mean KL(chat || patched) over next-token distributions"),
    Column("kl_se", "nats", "its standard error over documents"),
    Column("closed", "fraction", "1 - kl / KL(chat || base): of the gap between the snapshots; null for a tiny gap"),
    Column("closed_se", "fraction", "its standard error over documents"),
    Column("closed_low", "fraction", "its 95 % interval, a bootstrap of documents"),
    Column("closed_high", "fraction", "its upper end"),
    Column("closed_patched", "fraction", "1 - kl / that of base's activation run on in chat, at the same hook point"),
    Column("closed_patched_se", "fraction", "its standard error over documents"),
    Column("ce", "nats", "cross-entropy of the patched"),
    Column("ce_se", "nats", "its standard error over documents"),
)
BASELINES = (
    Column("patch", "1", "what is put in"),
    Column("formula", "1", "the activation"),
    Column("runs_in", "1", "the snapshot that runs on from there"),
    *GROUP,
    *MEASURES,
)
SETS = (
    Column("set", "1", "which latents"),
    Column("half", "1", "the whole set, its best, worst or a random half"),
    Column("by", "1", "the ranking that best and worst are of; null for whole and random"),
    Column("seed", "1", "which random half"),
    Column("form", "1", "replace, add (to base's activation), or revert (from chat's)"),
    Column("n_latents", "1", "latents put in"),
    *GROUP,
    *MEASURES,
)
CONTRASTS = (
    Column("set", "1", "which latents"),
    Column("by", "1", "the ranking"),
    Column("form", "1", "how they are put in"),
    Column("versus", "1", "what the best half is compared with: worst, or random (the mean of all seeds)"),
    Column("n_latents", "1", "latents in each half"),
    *GROUP,
    Column(
        "difference",
        "fraction",
        "what the best half closes more than that; what matters closes less in the form revert",
    ),
    Column("difference_low", "fraction", "its 95 % interval, a bootstrap of documents"),
    Column("difference_high", "fraction", "its upper end"),
)
SWEEP = (
    Column("hook_point", "1", "where the activation is put in"),
    Column("layer", "1", "its layer"),
    Column("patch", "1", "what is put in"),
    Column("runs_in", "1", "the snapshot that runs on from there"),
    *GROUP,
    *MEASURES,
)
_WORDS = {"patch", "formula", "runs_in", "group", "set", "half", "by", "form", "versus", "hook_point"}
_COUNTS = {"n", "n_documents", "n_latents", "seed", "layer"}


def patch_rows(
    described: Sequence[Described],
    places: Sequence[int],
    patched: Mapping[HookPoint, int],
    estimates: Estimates,
    groups: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """One row a group and patch; `places`: of the patches among those measured, `patched`: of base's activation."""
    for group, name in enumerate(groups):
        for place, each in zip(places, described, strict=True):
            yield {
                **each.columns,
                "formula": each.formula,
                "hook_point": str(each.patch.hook_point),
                "group": name,
                **estimates.mean(group, place, patched[each.patch.hook_point]),
            }


def contrast_rows(
    described: Sequence[Described], places: Sequence[int], estimates: Estimates, groups: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One row a group, set, form, ranking and comparison: best against worst, and against the random halves."""
    halves: dict[tuple[Any, ...], list[int]] = {}
    sizes: dict[int, Any] = {}
    for place, each in zip(places, described, strict=True):
        found = each.columns
        halves.setdefault((found["set"], found["form"], found["half"], found["by"]), []).append(place)
        sizes[place] = found["n_latents"]
    for group, group_name in enumerate(groups):
        for (name, form, half, by), (best, *_) in halves.items():
            if half != "best":
                continue
            others = {"worst": halves[name, form, "worst", by], "random": halves.get((name, form, "random", None), [])}
            for versus, against in others.items():
                if against:
                    yield {
                        **{"set": name, "by": by, "form": form, "versus": versus, "n_latents": sizes[best]},
                        **{"group": group_name, **estimates.count(group)},
                        **estimates.contrast(group, best, against),
                    }


def make_table(name: str, columns: tuple[Column, ...], rows: Iterator[Mapping[str, Any]]) -> Table:
    """A table of these columns alone; NaN becomes null."""
    kinds = dict.fromkeys(_WORDS, pa.string()) | dict.fromkeys(_COUNTS, pa.int64())
    schema = pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in columns])
    kept = [{column.name: _known(row[column.name]) for column in columns} for row in rows]
    return Table.from_rows(name, columns, kept, schema)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
