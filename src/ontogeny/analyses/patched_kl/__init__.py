"""What carries the difference between two snapshots? Parts of one's activation put into the other, and the KL left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ontogeny.analyses.contract import Analysis, AnalysisInputs, Need
from ontogeny.analyses.patched_kl.config import PatchedKLConfig
from ontogeny.results import Result

if TYPE_CHECKING:
    from ontogeny.latents.accumulators import Accumulator

__all__ = ["PATCHED_KL", "PatchedKLConfig"]


def run(inputs: AnalysisInputs, config: PatchedKLConfig) -> Result:
    """Choose latents, run both snapshots, every patch, every layer of the sweep; KL by group of tokens."""
    from ontogeny.analyses.patched_kl.report import make_result

    return make_result(inputs, config)


def ride(inputs: AnalysisInputs, config: PatchedKLConfig) -> Accumulator:
    """The sums of latent scaling along the later snapshot's decoders."""
    from ontogeny.analyses.patched_kl.sets import make_rider

    return make_rider(inputs, config)


NEEDS: frozenset[Need] = frozenset({"dictionary", "held_out", "series", "codes"})
PATCHED_KL = Analysis("patched_kl", PatchedKLConfig, NEEDS, run, ride)
