"""The verdicts: absent or present, by decoder norm and by latent scaling, with a correction for the many tests."""

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.analyses.latent_scaling.spool import Spool
from ontogeny.latents.many_tests import adjust_p, compute_p

ABSENT, PRESENT, TURNED, UNCLEAR, UNTESTED = 0, 1, 2, 3, 4
WORDS = ("absent", "present", "turned", "unclear", None)
LEAST_T = 2.0
"""t-value that the reference's own beta must have: a latent that is not found where it should be strongest cannot be
measured elsewhere in its units."""


@dataclass(frozen=True)
class Adjusted:
    """Adjusted p-values [row] of the six questions; NaN where nothing was tested."""

    absent: Float[np.ndarray, " row"]
    present: Float[np.ndarray, " row"]
    coupled: Float[np.ndarray, " row"]
    decoupled: Float[np.ndarray, " row"]
    own_absent: Float[np.ndarray, " row"]
    own_present: Float[np.ndarray, " row"]

    def part(self, rows: slice) -> "Adjusted":
        """Those of some rows."""
        return Adjusted(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Verdicts:
    """What is said of each row (latent, probe, source)."""

    relative_norm: Float[np.ndarray, " row"]
    delta_norm: Float[np.ndarray, " row"]
    tested: Bool[np.ndarray, " row"]
    by_norm: Int[np.ndarray, " row"]
    by_scaling: Int[np.ndarray, " row"]
    complete_shrinkage: Bool[np.ndarray, " row"]
    latent_decoupling: Bool[np.ndarray, " row"]
    survives: Bool[np.ndarray, " row"]


QUESTIONS = {
    "absent": ("t_error", False),
    "present": ("t_error", True),
    "coupled": ("t_reconstruction", False),
    "decoupled": ("t_reconstruction", True),
    "own_absent": ("t_own", False),
    "own_present": ("t_own", True),
}
"""What is asked: the t-value that answers it, and whether a large one says yes."""


def adjust(spool: Spool, config: LatentScalingConfig) -> Adjusted:
    """Test nu_error, nu_reconstruction and nu_own of every row against their thresholds, on both sides, and adjust.

    A row is tested where the latent fires on enough tokens, its beta at the reference is clearly above 0, and the
    source is not the reference itself (where nu is 1 by definition). One question at a time, kept in float32: there
    may be tens of millions of rows.
    """
    return Adjusted(**{name: _answer(spool, config, *question) for name, question in QUESTIONS.items()})


def _answer(spool: Spool, config: LatentScalingConfig, column: str, above: bool) -> Float[np.ndarray, " row"]:
    parts = []
    for batch in spool:
        degrees = batch.column("n_clusters").to_numpy() - 1
        t = np.where(is_tested(batch, config), batch.column(column).to_numpy(), np.nan)
        parts.append(compute_p(t, degrees, above=above))
    return adjust_p(np.concatenate(parts)).astype(np.float32)


def is_tested(batch: pa.RecordBatch, config: LatentScalingConfig) -> Bool[np.ndarray, " row"]:
    """Where a row has a verdict by scaling."""
    enough = batch.column("n_active").to_numpy() >= config.min_tokens
    elsewhere = batch.column("source").to_numpy() != batch.column("probe").to_numpy()
    tested: np.ndarray = enough & elsewhere & is_found(batch) & ~np.isnan(batch.column("t_error").to_numpy())
    return tested


def is_found(batch: pa.RecordBatch) -> Bool[np.ndarray, " row"]:
    """Where the reference's own beta is clearly above 0, so that nu has a unit."""
    found: np.ndarray = np.nan_to_num(batch.column("t_reference").to_numpy(), nan=0.0, posinf=np.inf) >= LEAST_T
    return found


def decide(
    batch: pa.RecordBatch, q: Adjusted, norms: Float[np.ndarray, "latent source"], config: LatentScalingConfig
) -> Verdicts:
    """The verdicts of some rows.

    By norm: absent where norm <= absent_norm * norm at the probe. By scaling: present where nu_error is clearly above
    absent_error; turned where it is not, but nu_own is: there, in another direction than at the probe; absent where
    both are clearly below (and nu_error not as far below 0). Complete shrinkage: absent by norm, present or turned by
    scaling. Latent decoupling: absent by norm, nu_reconstruction clearly above its threshold. A latent's
    absence survives where both speak for it.
    """
    latent, source, probe = (batch.column(name).to_numpy() for name in ("latent", "source", "probe"))
    nu_error, nu_reconstruction = (batch.column(f"nu_{name}").to_numpy() for name in ("error", "reconstruction"))
    here, there = norms[latent, source], norms[latent, probe]
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(there > 0, here / there, np.nan)
        newer, older = np.where(source > probe, here, there), np.where(source > probe, there, here)
        delta = 0.5 * ((newer - older) / np.maximum(newer, older) + 1)
    tested, level = is_tested(batch, config), config.false_discoveries
    by_norm = np.where(np.isnan(relative), UNTESTED, np.where(relative <= config.absent_norm, ABSENT, PRESENT))
    by_scaling = np.where(tested, UNCLEAR, np.where(source == probe, _at_home(batch, config), UNTESTED))
    below = (q.absent <= level) & (nu_error > -config.absent_error)
    by_scaling = np.where(tested & below & (q.own_absent <= level), ABSENT, by_scaling)
    by_scaling = np.where(tested & (q.own_present <= level), TURNED, by_scaling)
    by_scaling = np.where(tested & (q.present <= level), PRESENT, by_scaling)
    gone = (by_norm == ABSENT) & tested
    coupled = (q.coupled <= level) & (nu_reconstruction > -config.absent_reconstruction)
    return Verdicts(
        relative_norm=relative,
        delta_norm=delta,
        tested=tested,
        by_norm=by_norm,
        by_scaling=by_scaling,
        complete_shrinkage=gone & np.isin(by_scaling, (PRESENT, TURNED)),
        latent_decoupling=gone & (q.decoupled <= level),
        survives=gone & (by_scaling == ABSENT) & coupled,
    )


def _at_home(batch: pa.RecordBatch, config: LatentScalingConfig) -> Int[np.ndarray, " row"]:
    """The verdict where source and probe are one: present where the latent's own beta is clearly above 0."""
    enough = batch.column("n_active").to_numpy() >= config.min_tokens
    t = batch.column("t_reference").to_numpy()
    return np.where(enough & ~np.isnan(t), np.where(t >= LEAST_T, PRESENT, UNCLEAR), UNTESTED)
