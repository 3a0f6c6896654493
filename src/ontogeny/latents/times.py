"""The time axis of trajectories: logarithmic in training, with a place for the untrained snapshot. Pure numpy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ontogeny.types import Source


@dataclass(frozen=True)
class TimeAxis:
    """Training time of the sources of one series, in octaves.

    `log` [source] is log2(1 + tokens / unit), log2(1 + step) where tokens are unknown, and the place in the series
    where steps are unknown too; `name` says which. `unit`: tokens of one step, 1 for steps. The 1 gives the untrained
    snapshot a place; beyond a few steps the axis is log tokens, and it is the same with tokens as with steps.
    """

    name: str
    log: Float[np.ndarray, " source"]
    unit: float = 1.0
    tokens_per_step: float | None = None

    @property
    def is_training_time(self) -> bool:
        """Whether times are steps or tokens, and not just places in a series."""
        return self.name != "index"

    def step_at(self, log_time: float) -> float | None:
        """Optimizer steps at a place on the axis, None where steps are unknown."""
        if not self.is_training_time or math.isnan(log_time):
            return None
        linear = (2.0**log_time - 1.0) * self.unit
        if self.name == "log2(1 + step)":
            return float(linear)
        return None if self.tokens_per_step is None else float(linear / self.tokens_per_step)

    def tokens_at(self, log_time: float) -> float | None:
        """Tokens seen at a place on the axis, None where they are unknown."""
        if math.isnan(log_time) or not self.name.startswith("log2(1 + tokens"):
            return None
        return float((2.0**log_time - 1.0) * self.unit)


def compute_time_axis(steps: Sequence[int | None], tokens: Sequence[int | None]) -> TimeAxis:
    """The axis of sources with these steps and tokens, each None where unknown.

    The unit of tokens is what one step reads (from the last source); without steps, the smallest positive count.
    """
    known = [count for count in tokens if count is not None]
    counted = [step for step in steps if step is not None]
    if len(known) == len(tokens) and max(known, default=0) > 0:
        read = np.array(known, dtype=np.float64)
        per_step = read[-1] / counted[-1] if len(counted) == len(steps) and counted[-1] > 0 else None
        unit = per_step if per_step is not None else float(read[read > 0].min())
        return TimeAxis("log2(1 + tokens / unit)", np.log2(1.0 + read / unit), float(unit), per_step)
    if len(counted) == len(steps) and max(counted, default=0) > 0:
        return TimeAxis("log2(1 + step)", np.log2(1.0 + np.array(counted, dtype=np.float64)))
    return TimeAxis("index", np.arange(len(steps), dtype=np.float64))


def series_by_hook_point(sources: Sequence[Source]) -> dict[str, list[int]]:
    """For every hook point, the places of its sources in order of training (as given where a step is unknown)."""
    groups: dict[str, list[int]] = {}
    for place, source in enumerate(sources):
        groups.setdefault(str(source.hook_point), []).append(place)
    for places in groups.values():
        steps = [sources[place].snapshot.step for place in places]
        if all(step is not None for step in steps):
            places.sort(key=lambda place: sources[place].snapshot.step or 0)
    return groups
