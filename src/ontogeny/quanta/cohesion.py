"""How close the tokens of clusters are, within and between, with the spread over draws of documents.

`weights` [draw token]: how often each token's document was drawn. Pairs of a token with itself never count, however
often it was drawn.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


def bootstrap_cohesion(
    similarity: Float[np.ndarray, "token token"],
    labels: Int[np.ndarray, " token"],
    weights: Float[np.ndarray, "draw token"],
) -> Float[np.ndarray, "draw cluster"]:
    """Mean cosine over a cluster's pairs in every draw: Σ_i≠j w_i w_j c_ij / Σ_i≠j w_i w_j; NaN where it has none."""
    found = np.full((len(weights), int(labels.max()) + 1), np.nan)
    for cluster in range(found.shape[1]):
        members = np.flatnonzero(labels == cluster)
        inside, drawn = similarity[np.ix_(members, members)].astype(np.float64), weights[:, members]
        np.fill_diagonal(inside, 0)
        total = np.einsum("di,di->d", drawn @ inside, drawn)
        pairs = np.square(drawn.sum(axis=1)) - np.square(drawn).sum(axis=1)
        np.divide(total, pairs, out=found[:, cluster], where=pairs > 0)
    return found


def compute_centrality(
    similarity: Float[np.ndarray, "token token"], labels: Int[np.ndarray, " token"]
) -> Float[np.ndarray, " token"]:
    """Mean cosine of each token to the others of its cluster; NaN for one that is alone."""
    member = np.eye(int(labels.max()) + 1)[labels]
    own = (similarity @ member)[np.arange(len(labels)), labels] - np.diag(similarity)
    others = member.sum(axis=0)[labels] - 1
    return np.asarray(np.divide(own, others, out=np.full(len(labels), np.nan), where=others > 0))


@dataclass(frozen=True)
class Neighbours:
    """The clusters nearest to each, nearest first: `other` and mean cosine [cluster neighbour], its standard error.

    `se`: the spread over draws; NaN with fewer than two.
    """

    other: Int[np.ndarray, "cluster neighbour"]
    cosine: Float[np.ndarray, "cluster neighbour"]
    se: Float[np.ndarray, "cluster neighbour"]


def find_neighbours(
    similarity: Float[np.ndarray, "token token"],
    labels: Int[np.ndarray, " token"],
    weights: Float[np.ndarray, "draw token"],
    count: int,
) -> Neighbours:
    """By mean cosine over all pairs of one token each."""
    member = np.eye(int(labels.max()) + 1)[labels]
    sizes = member.sum(axis=0)
    mean = member.T @ similarity @ member / sizes[:, None] / sizes[None]
    np.fill_diagonal(mean, -np.inf)
    count = min(count, len(mean) - 1)
    other = np.argsort(-mean, axis=1, kind="stable")[:, :count]
    se = np.full(other.shape, np.nan)
    members = [np.flatnonzero(labels == cluster) for cluster in range(len(mean))]
    for cluster, row in enumerate(other):
        for place, neighbour in enumerate(row):
            mine, theirs = members[cluster], members[neighbour]
            one, two = weights[:, mine], weights[:, theirs]
            total = np.einsum("di,di->d", one @ similarity[np.ix_(mine, theirs)], two)
            pairs = one.sum(axis=1) * two.sum(axis=1)
            drawn = total[pairs > 0] / pairs[pairs > 0]
            if len(drawn) > 1:
                se[cluster, place] = drawn.std(ddof=1)
    return Neighbours(other, np.take_along_axis(mean, other, axis=1), se)
