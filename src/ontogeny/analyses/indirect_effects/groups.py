"""Effects by behaviour, phenomenon and language, and how far their strongest latents are the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.indirect_effects.attribution import Attributed
from ontogeny.latents.clusters import renumber
from ontogeny.latents.effect_sums import sum_entries

KEYS = ("behaviour", "phenomenon", "language")


@dataclass(frozen=True)
class GroupEffects:
    """Mean effects over the prompts of one group, of every latent that has any: [latent source], with errors."""

    by: str
    name: str
    latents: Int[np.ndarray, "latent"]
    effect: Float[np.ndarray, "latent source"]
    se: Float[np.ndarray, "latent source"]
    n_prompts: int
    n_clusters: int

    def strongest(self, source: int, count: int) -> Int[np.ndarray, "chosen"]:
        """Places of the latents with the largest |effect| in a source, the strongest first; none without effect."""
        size = np.abs(self.effect[:, source])
        order = np.argsort(-size, kind="stable")[:count]
        return np.asarray(order[size[order] > 0])


def iter_groups(found: Mapping[str, Attributed]) -> Iterator[GroupEffects]:
    """Every behaviour, and every phenomenon and language where there are several, over all behaviours."""
    for key in KEYS:
        members: dict[str, list[tuple[Attributed, np.ndarray]]] = {}
        for behaviour, given in found.items():
            own = [behaviour if key == "behaviour" else getattr(pair, key) for pair in given.pairs.pairs]
            for name in dict.fromkeys(own):
                members.setdefault(name, []).append((given, np.array([each == name for each in own])))
        if key == "behaviour" or len(members) > 1:
            for name, parts in members.items():
                yield _group(key, name, parts)


def _group(by: str, name: str, parts: Sequence[tuple[Attributed, Bool[np.ndarray, "_"]]]) -> GroupEffects:
    """Sums by cluster over the prompts of all parts; clusters of two behaviours are not the same."""
    latent, cluster, values, sizes = [], [], [], [np.zeros(0)]
    for given, member in parts:
        effects = given.effects
        clusters, n_clusters = renumber(given.pairs.cluster[member])
        of_prompt = np.full(effects.n_prompts, -1)
        of_prompt[member] = clusters + sum(map(len, sizes))
        kept = member[effects.prompt]
        latent.append(effects.latent[kept])
        cluster.append(of_prompt[effects.prompt[kept]])
        values.append(effects.values[kept])
        sizes.append(np.bincount(clusters, minlength=n_clusters).astype(np.float64))
    entries, size = np.concatenate(latent), np.concatenate(sizes)
    sums = sum_entries(np.unique(entries), entries, np.concatenate(cluster), np.concatenate(values), size)
    return GroupEffects(by, name, sums.latents, sums.mean, sums.se, int(size.sum()), len(size))


def group_rows(groups: Sequence[GroupEffects], sources: Sequence[str], top: int) -> list[dict[str, Any]]:
    """The strongest latents of every group in every source."""
    return [
        {
            "by": group.by,
            "group": group.name,
            "source": source,
            "rank": rank,
            "latent": int(group.latents[place]),
            "effect": float(group.effect[place, number]),
            "effect_se": None if group.n_clusters < 2 else float(group.se[place, number]),
            "n": group.n_prompts,
            "n_clusters": group.n_clusters,
        }
        for group in groups
        for number, source in enumerate(sources)
        for rank, place in enumerate(group.strongest(number, top))
    ]


def overlap_rows(groups: Sequence[GroupEffects], sources: Sequence[str], top: int) -> list[dict[str, Any]]:
    """How many of the strongest latents two groups share in a source, and two sources in a group."""
    best = {
        (group.by, group.name, number): set(group.latents[group.strongest(number, top)].tolist())
        for group in groups
        for number in range(len(sources))
    }
    rows = []
    for group, other in combinations(groups, 2):
        if group.by == other.by:
            for number, source in enumerate(sources):
                sets = (best[each.by, each.name, number] for each in (group, other))
                rows.append(_overlap(group.by, group.name, other.name, source, *sets))
    for group in groups:
        for a, b in combinations(range(len(sources)), 2):
            sets = (best[group.by, group.name, each] for each in (a, b))
            rows.append(_overlap(f"source of {group.by} {group.name}", sources[a], sources[b], None, *sets))
    return rows


def _overlap(by: str, one: str, other: str, source: str | None, first: set[int], second: set[int]) -> dict[str, Any]:
    either = len(first | second)
    return {
        "by": by,
        "group": one,
        "other": other,
        "source": source,
        "k": min(len(first), len(second)),
        "shared": len(first & second),
        "jaccard": len(first & second) / either if either else None,
    }
