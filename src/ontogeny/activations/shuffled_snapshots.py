"""A null control for everything said about training: every token's snapshots in an order of its own.

Token t reads, where source s of snapshot m stood, what snapshot π_t(m) computed there:

    x'[t, m] = x[t, π_t(m)] · scale[π_t(m)] / scale[m]

π_t is drawn uniformly from (seed, corpus row, place in it), so a token keeps its order over epochs, batch sizes and
resumes; all hook points of a snapshot move together. Rows move in normalised space, so that the scales stay what they
are. What a dictionary finds in such a stream about when latents live, no training can have put there.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.stream import ActivationBatch, ActivationStream, Cursor, StreamCounts
from ontogeny.errors import StoreError
from ontogeny.hashing import GOLDEN, mix64
from ontogeny.types import Source


class ShuffledSnapshots(ActivationStream):
    """A view of a stream; StoreError where a hook point was read in one snapshot only, or not in all of them."""

    def __init__(self, stream: ActivationStream, seed: int) -> None:
        self.stream, self.seed = stream, seed
        self.sources: tuple[Source, ...] = stream.sources
        self.d_model = stream.d_model
        points = list(dict.fromkeys(source.hook_point for source in self.sources))
        # Of each hook point, the places of its snapshots in one order.
        groups = [
            {each.snapshot.label: place for place, each in enumerate(self.sources) if each.hook_point == point}
            for point in points
        ]
        labels = list(groups[0])
        if len(labels) < 2:
            raise StoreError(
                f"there is nothing to shuffle: the stream has one snapshot ({labels[0]}); give it two or more, or "
                "unset training.shuffle_snapshots."
            )
        for point, group in zip(points, groups, strict=True):
            if set(group) != set(labels):
                raise StoreError(
                    f"{point} was not read in the same snapshots as {points[0]}, so snapshots cannot be shuffled; "
                    "harvest it in all of them, or unset training.shuffle_snapshots."
                )
        self.places = [[group[label] for label in labels] for group in groups]

    @property
    def n_rows(self) -> int:
        """Rows of an epoch, those of the stream."""
        return self.stream.n_rows

    @property
    def scales(self) -> Float[Tensor, "source"]:
        """The stream's own: rows move in normalised space."""
        return self.stream.scales

    @property
    def counts(self) -> StreamCounts:
        """The stream's own."""
        return self.stream.counts

    def iter_batches(
        self, batch_size: int, *, seed: int = 0, cursor: Cursor | None = None, epochs: int | None = None
    ) -> Iterator[ActivationBatch]:
        """The stream's batches, each token's snapshots in its own order."""
        scales = self.scales
        for batch in self.stream.iter_batches(batch_size, seed=seed, cursor=cursor, epochs=epochs):
            orders = draw_orders(batch.row, batch.position, len(self.places[0]), self.seed)
            yield dataclasses.replace(batch, x=self._move(batch.x, torch.from_numpy(orders), scales))

    def _move(
        self,
        x: Float[Tensor, "token source d_model"],
        orders: Int[Tensor, "token snapshot"],
        scales: Float[Tensor, "source"],
    ) -> Float[Tensor, "token source d_model"]:
        # Each source's rows lie together, as in the stream's own batches; whole rows are taken, not numbers.
        rows = x.transpose(0, 1).flatten(0, 1)
        moved = torch.empty(x.shape[1], x.shape[0], x.shape[2], dtype=x.dtype)
        token = torch.arange(len(x))
        for places in self.places:
            taken = torch.tensor(places)[orders]
            for place, source in zip(places, taken.unbind(1), strict=True):
                values = rows.index_select(0, source * len(x) + token).float() * scales[source][:, None]
                moved[place] = (values / scales[place]).to(x.dtype)
        return moved.transpose(0, 1)


def draw_orders(
    row: Int[np.ndarray, "token"], position: Int[np.ndarray, "token"], count: int, seed: int
) -> Int[np.ndarray, "token snapshot"]:
    """A uniform permutation of `count` for every token, a function of its place and the seed alone."""
    place = (row.astype(np.int64) << 20).astype(np.uint64) + position.astype(np.int64).astype(np.uint64)
    start = mix64(place + mix64(np.array([seed], dtype=np.uint64)))
    draws = mix64(start[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)
    orders: np.ndarray = np.argsort(draws, axis=1, kind="stable")
    return orders
