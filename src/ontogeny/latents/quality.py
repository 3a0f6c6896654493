"""How good estimated effects are: against exact patching, and against what they should add up to. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEAST_R, LARGEST_GAP = 0.9, 0.2
"""An estimate is poor below this correlation with patching, and above this completeness gap."""


@dataclass(frozen=True)
class Quality:
    """How good the estimate is in one source: correlation with exact patching, slope of exact on estimate, both NaN
    where fewer than three candidates or no variance are there; completeness gap; whether that is poor."""

    r: float
    slope: float
    gap: float
    poor: bool


def compute_quality(
    estimate: Float[np.ndarray, "candidate"],
    exact: Float[np.ndarray, "candidate"],
    gap: float,
    path_is_estimated: bool = True,
) -> Quality:
    """r and slope of a check, and the verdict; a gap says nothing of effects that were patched one by one."""
    r = slope = float("nan")
    spread = estimate.std() if len(estimate) > 2 else 0.0
    if spread > 0 and exact.std() > 0:
        r = float(np.corrcoef(estimate, exact)[0, 1])
        slope = r * float(exact.std() / spread)
    poor = r < LEAST_R or (path_is_estimated and gap > LARGEST_GAP)
    return Quality(r, slope, float(gap), bool(poor))
