"""Counts and means over the tokens of many groups at once, with documents as what is drawn."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_matrix

from ontogeny.latents.clusters import renumber


@dataclass(frozen=True)
class GroupMeans:
    """Sums of the cells that hold tokens, a cell being the tokens of one group in one document.

    `size` [cell]: its tokens; `total` [cell column]: sums of their values; `document`, `group` [cell], from 0.
    """

    document: Int[np.ndarray, " cell"]
    group: Int[np.ndarray, " cell"]
    size: Float[np.ndarray, " cell"]
    total: Float[np.ndarray, "cell column"]
    n_documents: int
    n_groups: int

    @classmethod
    def of(
        cls,
        columns: Iterable[Shaped[np.ndarray, " token"]],
        groups: Int[np.ndarray, " token"],
        documents: Int[np.ndarray, " token"],
        n_groups: int,
    ) -> "GroupMeans":
        """`columns`, at least one, are read one at a time; `groups` from 0, −1 for tokens of none, whose documents are
        drawn all the same.
        """
        numbered, n_documents = renumber(documents)
        there = groups >= 0
        key = numbered[there] * n_groups + groups[there]
        cells, cell = np.unique(key, return_inverse=True)
        total = np.stack([np.bincount(cell, each[there], len(cells)) for each in columns], axis=1)
        size = np.bincount(cell, minlength=len(cells)).astype(np.float64)
        return cls(cells // n_groups, cells % n_groups, size, total, n_documents, n_groups)

    @property
    def n_tokens(self) -> Float[np.ndarray, " group"]:
        """Tokens of every group."""
        return np.bincount(self.group, self.size, self.n_groups)

    @property
    def spread(self) -> Int[np.ndarray, " group"]:
        """Documents in which each group has tokens."""
        return np.bincount(self.group, minlength=self.n_groups)

    @property
    def mean(self) -> Float[np.ndarray, "group column"]:
        """Over a group's tokens; NaN where it has none."""
        return _divide(self._sum(self.total), self.n_tokens[:, None])

    @property
    def se(self) -> Float[np.ndarray, "group column"]:
        """Over documents that hold tokens of the group; NaN where it has fewer than two. Source: `ClusterSums.se`."""
        rest = self._sum(np.square(self.total - self.mean[self.group] * self.size[:, None]))
        spread = self.spread.astype(np.float64)[:, None]
        scale = np.where(spread > 1, spread / np.maximum(spread - 1, 1), np.nan)
        return _divide(np.sqrt(scale * rest), self.n_tokens[:, None])

    def draw_sizes(self, weights: Float[np.ndarray, "draw document"]) -> Float[np.ndarray, "draw group"]:
        """Tokens of every group in every draw of documents."""
        return self._draw(weights, self.size)

    def draw_means(self, weights: Float[np.ndarray, "draw document"], column: int) -> Float[np.ndarray, "draw group"]:
        """The mean of one column in every draw; NaN where a draw has no token of the group."""
        return _divide(self._draw(weights, self.total[:, column]), self.draw_sizes(weights))

    def _sum(self, values: Float[np.ndarray, "cell column"]) -> Float[np.ndarray, "group column"]:
        columns = [np.bincount(self.group, each, self.n_groups) for each in values.T]
        return np.stack(columns, axis=1)

    def _draw(self, weights: np.ndarray, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "draw group"]:
        sums = csr_matrix((values, (self.group, self.document)), shape=(self.n_groups, self.n_documents))
        return np.asarray((sums @ weights.T).T)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.full(shape, np.nan), where=np.broadcast_to(below > 0, shape))
