"""One pass over the losses of all tokens: sums by document, from which means, shares and their errors come."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.loss_curves.config import LossCurvesConfig
from ontogeny.latents.clusters import ClusterSums
from ontogeny.quanta.curves import find_solved, fit_token_slopes, mark_monogenic
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.emergence import emergence_axis, find_emergence, halfway
from ontogeny.quanta.measured import MeasuredLosses, SizeLosses

BLOCK_TOKENS = 1 << 18
"""Tokens whose losses in all columns are in memory at once."""
SIZES = "sizes"
"""Name of the axis whose columns are the last snapshots of all model sizes."""


@dataclass(frozen=True)
class Axis:
    """Columns to follow losses along: the snapshots of one series, or the last snapshots of all sizes.

    `steps`: of the columns, None where unknown and for sizes; `x`: tokens, steps or parameters; `x_name` says which.
    """

    name: str
    labels: tuple[str, ...]
    steps: tuple[int | None, ...]
    x: Float[np.ndarray, " column"]
    x_name: str
    columns: tuple[Float[np.ndarray, " token"], ...]

    @classmethod
    def of_series(cls, size: SizeLosses) -> "Axis":
        """The snapshots of one series."""
        steps = tuple(snapshot.step for snapshot in size.snapshots)
        return cls(size.name, size.labels, steps, size.time, size.time_name, size.losses.columns)

    @classmethod
    def of_sizes(cls, losses: MeasuredLosses) -> "Axis":
        """The last snapshots of all sizes, smallest first."""
        sizes = sorted(losses.sizes, key=lambda size: size.parameters)
        x = np.array([size.parameters for size in sizes], dtype=np.float64)
        columns = tuple(size.losses.columns[-1] for size in sizes)
        return cls(SIZES, tuple(size.name for size in sizes), (None,) * len(sizes), x, "parameters", columns)

    def at(self, tokens: slice | np.ndarray) -> Float[np.ndarray, "token column"]:
        """Losses of some tokens, float64."""
        return np.stack([column[tokens] for column in self.columns], axis=1).astype(np.float64)

    @property
    def sloped(self) -> Int[np.ndarray, " column"]:
        """Columns with x above 0, along whose logarithm slopes are fitted; none where fewer than three differ."""
        places = np.flatnonzero(self.x > 0)
        usable = self.x_name != "snapshot" and len(np.unique(self.x[places])) >= 3
        return places if usable else places[:0]


def axes_of(losses: MeasuredLosses) -> list[Axis]:
    """Every series, and the sizes where there are several."""
    axes = [Axis.of_series(size) for size in losses.sizes]
    return [*axes, Axis.of_sizes(losses)] if len(losses.sizes) > 1 else axes


@dataclass
class AxisSums:
    """Counts and sums over tokens by document; `listed`: some tokens of a kind, by canonical index.

    `solved`, `stays`: first solved in a column, and of these those that stay; `emerged`, `forgotten` likewise.
    """

    size: Float[np.ndarray, " document"]
    loss: Float[np.ndarray, "document column"]
    solved: Float[np.ndarray, "document column"]
    stays: Float[np.ndarray, "document column"]
    monogenic: Float[np.ndarray, "document column"]
    emerged: Float[np.ndarray, "document column"]
    forgotten: Float[np.ndarray, "document column"]
    polygenic: Float[np.ndarray, " document"]
    listed: dict[str, list[int]] = field(default_factory=lambda: {"monogenic": [], "polygenic": []})

    @property
    def means(self) -> ClusterSums:
        """Mean losses of all columns."""
        return ClusterSums(self.loss, self.size)

    def share(self, part: str, column: int, of: str | None = None) -> ClusterSums:
        """A count in one column over all tokens, or over another count there."""
        size = self.size if of is None else getattr(self, of)[:, column]
        return ClusterSums(getattr(self, part)[:, column], size)


def iter_blocks(documents: Documents, max_tokens: int | None) -> Iterator[tuple[slice, Int[np.ndarray, " token"]]]:
    """Tokens of whole documents, and the document of each, numbered from 0 among those that have any."""
    last = _last_document(documents, max_tokens)
    first = 0
    filled = np.cumsum(documents.lengths >= 2) - 1
    while first < last:
        stop = int(np.searchsorted(documents.starts, documents.starts[first] + BLOCK_TOKENS, side="right")) - 1
        stop = min(last, max(first + 1, stop))
        tokens = slice(int(documents.starts[first]), int(documents.starts[stop]))
        counts = np.maximum(documents.lengths[first:stop] - 1, 0)
        if tokens.stop > tokens.start:
            yield tokens, np.repeat(filled[first:stop], counts)
        first = stop


def _last_document(documents: Documents, max_tokens: int | None) -> int:
    """Behind how many documents there are as many tokens as wanted; at least one of them predicts one."""
    if max_tokens is None:
        return len(documents)
    fits = int(np.searchsorted(documents.starts, max_tokens, side="right")) - 1
    return max(fits, int(np.flatnonzero(documents.lengths >= 2)[0]) + 1)


def sum_axis(axis: Axis, documents: Documents, config: LossCurvesConfig) -> AxisSums:
    """The pass along one axis."""
    n_documents = int((documents.lengths[: _last_document(documents, config.max_tokens)] >= 2).sum())
    shape = (n_documents, len(axis.labels))
    loss, solved, stays, monogenic, emerged, forgotten = np.zeros((6, *shape))
    sums = AxisSums(np.zeros(n_documents), loss, solved, stays, monogenic, emerged, forgotten, np.zeros(n_documents))
    along = emergence_axis(axis.steps) if axis.x_name != "parameters" else np.log(axis.x)
    for tokens, document in iter_blocks(documents, config.max_tokens):
        losses = axis.at(tokens)
        np.add.at(sums.size, document, 1)
        np.add.at(sums.loss, document, losses)
        when = find_solved(losses, config.low)
        _count(sums.solved, document, when.first, when.first >= 0)
        _count(sums.stays, document, when.first, when.stays)
        sudden = mark_monogenic(losses, config.high, config.low)
        _count(sums.monogenic, document, sudden, sudden > 0)
        _list(sums, "monogenic", np.flatnonzero(sudden > 0) + tokens.start, config)
        threshold = halfway(losses) if config.emergence_loss is None else np.full(len(losses), config.emergence_loss)
        emergence = find_emergence(losses, along, threshold)
        there = emergence.first < losses.shape[1]
        _count(sums.emerged, document, emergence.first, there)
        _count(sums.forgotten, document, emergence.first, emergence.forgotten)
        if len(axis.sloped):
            slopes = fit_token_slopes(losses[:, axis.sloped], axis.x[axis.sloped])
            gradual = slopes.polygenic(config.slope, config.r2)
            np.add.at(sums.polygenic, document[gradual], 1)
            _list(sums, "polygenic", np.flatnonzero(gradual) + tokens.start, config)
    return sums


def _count(
    target: Float[np.ndarray, "document column"], document: np.ndarray, column: np.ndarray, chosen: np.ndarray
) -> None:
    np.add.at(target, (document[chosen], column[chosen]), 1)


def _list(sums: AxisSums, kind: str, tokens: Int[np.ndarray, " token"], config: LossCurvesConfig) -> None:
    room = config.n_listed - len(sums.listed[kind])
    sums.listed[kind] += tokens[: max(room, 0)].tolist()
