"""How losses are spread: p(L), and L · p(L), what tokens of each loss add to the mean."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Density:
    """Of each bin of losses: density per nat, its standard error over documents, tokens in it, and its mean loss.

    Losses outside of the bins count in the density's denominator alone. `mean`: NaN in an empty bin.
    """

    edges: Float[np.ndarray, " edge"]
    density: Float[np.ndarray, " bin"]
    se: Float[np.ndarray, " bin"]
    n: Int[np.ndarray, " bin"]
    mean: Float[np.ndarray, " bin"]

    @property
    def contribution(self) -> Float[np.ndarray, " bin"]:
        """L · p(L) at the bin's middle."""
        return np.asarray((self.edges[:-1] + self.edges[1:]) / 2 * self.density)


def compute_density(
    losses: Float[np.ndarray, " token"], documents: Int[np.ndarray, " token"], edges: Float[np.ndarray, " edge"]
) -> Density:
    """p(L) in bins edges[b] ≤ L < edges[b + 1]; the error is that of a ratio over documents (Cochran 1977, eq. 6.13).

    Σ_d (c_db − p_b n_d)² = Σ c_db² − 2 p_b Σ c_db n_d + p_b² Σ n_d², so that no table of documents × bins is made.
    """
    n_bins = len(edges) - 1
    place = np.searchsorted(edges, losses, side="right") - 1
    inside = (place >= 0) & (place < n_bins)
    sizes = np.bincount(documents).astype(np.float64)
    pair, count = np.unique(documents[inside].astype(np.int64) * n_bins + place[inside], return_counts=True)
    at, size = pair % n_bins, sizes[pair // n_bins]
    n = np.bincount(at, weights=count, minlength=n_bins)
    share = n / max(len(losses), 1)
    squares = np.bincount(at, weights=count.astype(np.float64) ** 2, minlength=n_bins)
    crossed = np.bincount(at, weights=count * size, minlength=n_bins)
    rest = squares - 2 * share * crossed + share**2 * np.square(sizes).sum()
    n_documents = int((sizes > 0).sum())
    factor = n_documents / (n_documents - 1) if n_documents > 1 else np.nan
    se = np.sqrt(np.maximum(rest, 0) * factor) / max(len(losses), 1)
    width = np.diff(edges)
    total = np.bincount(place[inside], weights=losses[inside], minlength=n_bins)
    mean = np.divide(total, n, out=np.full(n_bins, np.nan), where=n > 0)
    return Density(edges, share / width, np.where(n > 0, se, np.nan) / width, n.astype(np.int64), mean)
