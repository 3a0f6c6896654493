"""Controls drawn at random, each matched to one of a ranking in how large it is."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int


def draw_matched(
    reference: Int[np.ndarray, "ranked"],
    values: Float[np.ndarray, "candidate"],
    nearest: int,
    seed: int,
    itself: bool,
) -> Int[np.ndarray, "drawn"]:
    """For each of the reference, by its number among the candidates, one at random of the `nearest` in `values`.

    Near is near in order of value, so that no unit matters; of two that are equally near the smaller comes first. Each
    candidate is drawn once, `itself` says whether it may stand for itself. Fewer are drawn than ranked where none is
    left.
    """
    draw = np.random.default_rng(seed)
    order = np.argsort(values, kind="stable")
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values))
    free = _Free(len(values))
    drawn = []
    for own in place[reference].tolist():
        near = list(itertools.islice(free.iter_nearest(own, itself), nearest))
        if not near:
            break
        chosen = int(draw.choice(near))
        free.take(chosen)
        drawn.append(chosen)
    return np.asarray(order[np.array(drawn, dtype=np.int64)])


class _Free:
    """Places on a line that nobody has taken; each knows the next free one on either side, found by path halving."""

    def __init__(self, count: int) -> None:
        self.count = count
        # Place p is entry p + 1; entries 0 and count + 1 are beyond the ends of the line.
        self.below = list(range(count + 2))
        self.above = list(range(count + 2))

    def take(self, place: int) -> None:
        self.below[place + 1] = place
        self.above[place + 1] = place + 2

    def iter_nearest(self, own: int, itself: bool) -> Iterator[int]:
        """The free places by their distance from `own`, the lower of two that are as far."""
        low, high = _find(self.below, own + 1 if itself else own), _find(self.above, own + 2)
        while low > 0 or high <= self.count:
            if low > 0 and (high > self.count or own + 1 - low <= high - own - 1):
                yield low - 1
                low = _find(self.below, low - 1)
            else:
                yield high - 1
                high = _find(self.above, high + 1)


def _find(next_of: list[int], entry: int) -> int:
    while next_of[entry] != entry:
        next_of[entry] = next_of[next_of[entry]]
        entry = next_of[entry]
    return entry
