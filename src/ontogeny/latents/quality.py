"""How good estimated effects are: against exact patching, and against what they should add up to. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEAST_R, LARGEST_GAP, SOUND_SLOPES = 0.9, 0.2, (0.5, 2.0)
"""An estimate is poor below this correlation with patching, above this completeness gap, and outside these slopes."""


@dataclass(frozen=True)
class Quality:
    """How good the estimate is in one source: correlation with exact patching, slope of exact on estimate, both NaN
    where fewer than three candidates or no variance are there; completeness gap.

    `faults`: those of the three that are not good enough, as text with their numbers.
    """

    r: float
    slope: float
    gap: float
    faults: tuple[str, ...]

    @property
    def poor(self) -> bool:
        """Whether anything is not good enough."""
        return bool(self.faults)


def compute_quality(
    estimate: Float[np.ndarray, "candidate"],
    exact: Float[np.ndarray, "candidate"],
    gap: float,
    path_is_estimated: bool = True,
    slopes: tuple[float, float] = SOUND_SLOPES,
) -> Quality:
    """r and slope of a check, and the verdict; a gap says nothing of effects that were patched one by one.

    `slopes`: the least and the largest slope that pass.
    """
    r = slope = float("nan")
    spread = estimate.std() if len(estimate) > 2 else 0.0
    if spread > 0 and exact.std() > 0:
        r = float(np.corrcoef(estimate, exact)[0, 1])
        slope = r * float(exact.std() / spread)
    judged = {
        f"r {r:.2f}": r < LEAST_R,
        f"slope {slope:.2f}": slope < slopes[0] or slope > slopes[1],
        f"gap {gap:.2f}": path_is_estimated and gap > LARGEST_GAP,
    }
    return Quality(r, slope, float(gap), tuple(told for told, fails in judged.items() if fails))


def name_poor(poor: Sequence[tuple[str, str, Quality]]) -> list[str]:
    """One line that names every (behaviour, snapshot) with a poor estimate and what is poor about it; none without."""
    if not poor:
        return []
    told = []
    for behaviour in dict.fromkeys(name for name, _, _ in poor):
        each = [f"{snapshot} ({', '.join(quality.faults)})" for name, snapshot, quality in poor if name == behaviour]
        told.append(f"{behaviour} in {', '.join(each)}")
    return [f"Poor estimates: {'; '.join(told)}."]
