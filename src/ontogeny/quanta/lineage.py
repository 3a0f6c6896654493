"""What becomes of clusters from one snapshot to the next: kept, merged, split, born, dead.

Two clusters are linked if they share more tokens than they would if labels were shuffled, and one of them lies by half
or more in the other, or each is the other's best match by Jaccard. Under shuffled labels the number shared is
hypergeometric, so the control needs no draws: p = P(X ≥ shared), over all pairs of clusters, the share of false links
bounded (Benjamini and Hochberg 1995).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import hypergeom

from ontogeny.quanta.stability import count_shared

Event = Literal["kept", "merge", "split", "birth", "death"]
ALPHA = 0.05
"""Share of false links."""


@dataclass(frozen=True)
class Link:
    """A cluster `later`, and the cluster `earlier` that it comes from; None where there is none (birth, death).

    `shared` tokens; `jaccard`; shares of either cluster that lie in the other; `q`: share of false links at this one.
    For a birth and a death, the numbers of the best match that is none.
    """

    earlier: int | None
    later: int | None
    event: Event
    shared: int
    jaccard: float
    share_of_earlier: float
    share_of_later: float
    q: float


def trace_clusters(
    earlier: Int[np.ndarray, " token"], later: Int[np.ndarray, " token"], alpha: float = ALPHA
) -> list[Link]:
    """All links of two partitions of the same tokens, by later cluster, deaths last."""
    shared = count_shared(earlier, later)
    sizes, later_sizes = shared.sum(axis=1), shared.sum(axis=0)
    jaccard = shared / (sizes[:, None] + later_sizes[None] - shared)
    of_earlier, of_later = shared / sizes[:, None], shared / later_sizes[None]
    q = _false_share(shared)
    mutual = (jaccard == jaccard.max(axis=1, keepdims=True)) & (jaccard == jaccard.max(axis=0, keepdims=True))
    linked = (q <= alpha) & ((of_earlier >= 0.5) | (of_later >= 0.5) | mutual)
    parents = (linked & (of_earlier >= 0.5)).sum(axis=0)
    children = (linked & (of_later >= 0.5)).sum(axis=1)

    def link(a: int, b: int, event: Event) -> Link:
        return Link(
            None if event == "birth" else a,
            None if event == "death" else b,
            event,
            int(shared[a, b]),
            float(jaccard[a, b]),
            float(of_earlier[a, b]),
            float(of_later[a, b]),
            float(q[a, b]),
        )

    links = []
    for b in range(len(later_sizes)):
        for a in np.flatnonzero(linked[:, b]).tolist():
            merged, divided = parents[b] >= 2 and of_earlier[a, b] >= 0.5, children[a] >= 2 and of_later[a, b] >= 0.5
            links.append(link(a, b, "merge" if merged else "split" if divided else "kept"))
        if not linked[:, b].any():
            links.append(link(int(jaccard[:, b].argmax()), b, "birth"))
    dead = np.flatnonzero(~linked.any(axis=1)).tolist()
    return links + [link(a, int(jaccard[a].argmax()), "death") for a in dead]


def _false_share(shared: Int[np.ndarray, "earlier later"]) -> Float[np.ndarray, "earlier later"]:
    """Adjusted p of every pair; pairs that share nothing count as tests with p = 1."""
    n_tokens, sizes, later_sizes = int(shared.sum()), shared.sum(axis=1), shared.sum(axis=0)
    a, b = np.nonzero(shared)
    p = hypergeom.sf(shared[a, b] - 1, n_tokens, sizes[a], later_sizes[b])
    order = np.argsort(p, kind="stable")
    scaled = p[order] * shared.size / np.arange(1, len(p) + 1)
    adjusted = np.ones(shared.shape)
    adjusted[a[order], b[order]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
