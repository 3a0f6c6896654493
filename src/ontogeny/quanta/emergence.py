"""When a loss curve falls below its threshold, between snapshots, and whether it rises again.

Between the last snapshot above the threshold and the first below it, the crossing is interpolated on log(1 + step):
log tokens but for one step, so that step 0 has a place. What lies outside the series is censored, not guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

NAMES: dict[int, str] = {-1: "left", 0: "no", 1: "right"}
"""Of `Emergence.censored`: below the threshold in the first snapshot already, seen, never below it."""


def emergence_axis(steps: Sequence[int | None]) -> Float[np.ndarray, " snapshot"]:
    """log(1 + step), or the place in the series where a step is not known."""
    if any(step is None for step in steps):
        return np.arange(len(steps), dtype=np.float64)
    return np.asarray(np.log1p(np.array(steps, dtype=np.float64)))


def axis_to_step(steps: Sequence[int | None], at: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What a place on the axis is in steps (in places of the series where steps are not known)."""
    return np.asarray(at if any(step is None for step in steps) else np.expm1(at))


@dataclass(frozen=True)
class Emergence:
    """Of every curve: `at` on the axis (−inf left of the series, +inf right of it), `censored`, and what came after.

    `first`: the first snapshot below the threshold (the number of snapshots if none). `forgotten`: above it again in
    the last snapshot. `relapses`: how often it rose above.
    """

    at: Float[np.ndarray, " curve"]
    first: Int[np.ndarray, " curve"]
    forgotten: Bool[np.ndarray, " curve"]
    relapses: Int[np.ndarray, " curve"]

    @property
    def censored(self) -> Int[np.ndarray, " curve"]:
        """−1, 0 or 1: see `NAMES`."""
        return np.where(np.isneginf(self.at), -1, np.where(np.isposinf(self.at), 1, 0))


def find_emergence(
    curves: Float[np.ndarray, "curve snapshot"],
    axis: Float[np.ndarray, " snapshot"],
    threshold: float | Float[np.ndarray, " curve"],
) -> Emergence:
    """The first time that each curve is below its threshold, snapshots in order of `axis`."""
    below = curves < np.broadcast_to(threshold, len(curves))[:, None]
    n_snapshots = curves.shape[1]
    first = np.where(below.any(axis=1), below.argmax(axis=1), n_snapshots)
    row = np.arange(len(curves))
    inside = (first > 0) & (first < n_snapshots)
    after = np.where(inside, first, 1 if n_snapshots > 1 else 0)
    before = np.maximum(after - 1, 0)
    high, low = curves[row, before].astype(np.float64), curves[row, after].astype(np.float64)
    fall = np.where(inside, high - low, 1.0)
    share = np.where(inside, (high - threshold) / fall, 0.0)
    crossing = axis[before] + share * (axis[after] - axis[before])
    at = np.where(inside, crossing, np.where(first == 0, -np.inf, np.inf))
    relapses = (below[:, :-1] & ~below[:, 1:]).sum(axis=1)
    return Emergence(at, first, (first < n_snapshots) & ~below[:, -1], relapses)


def halfway(curves: Float[np.ndarray, "curve snapshot"], share: float = 0.5) -> Float[np.ndarray, " curve"]:
    """The threshold at which a share of the fall from the first snapshot to the lowest is done.

    −inf (never reached) for a curve that does not fall: there is nothing to emerge.
    Source: Chang, Tu and Bergen 2023, arXiv 2308.15419 (age of acquisition, at half).
    """
    first, lowest = curves[:, 0], curves.min(axis=1)
    return np.asarray(np.where(lowest < first, first - share * (first - lowest), -np.inf))


def summarise_draws(
    draws: Float[np.ndarray, "draw curve"], level: float = 0.95
) -> tuple[Float[np.ndarray, " curve"], Float[np.ndarray, " curve"]]:
    """Both ends of the percentile interval of places on the axis; −inf, +inf where an end lies outside the series."""
    if not len(draws):
        return np.full(draws.shape[1], -np.inf), np.full(draws.shape[1], np.inf)
    ordered = np.sort(draws, axis=0)
    tail = (1 - level) / 2
    # Order statistics, not means of two: between −inf and a number there is no middle.
    low, high = int(np.floor(tail * (len(draws) - 1))), int(np.ceil((1 - tail) * (len(draws) - 1)))
    return ordered[low], ordered[high]
