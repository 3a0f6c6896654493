"""What the sums of latent scaling say: betas and nus with standard errors, and tests of nu against a threshold.

Every quantity is a ratio R = sum_g N_g / sum_g M_g over the blocks g of documents. Its standard error is
se = sqrt(m / (m - 1) * sum_g (N_g - R M_g)^2) / |sum_g M_g| over the m blocks that hold anything (Cochran, Sampling
Techniques, 3rd ed., eq. 6.13). A missing value is NaN here and null in a table: a latent that never fires has no beta,
one that fires in a single block no standard error.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from ontogeny.latents.scaling import ScalingSums

CHUNK = 512
"""Latents worked out at a time: a temporary stays in the cache, and far smaller than the sums."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over blocks, with its standard error; NaN where missing."""

    value: Float[np.ndarray, "..."]
    se: Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Targets:
    """<d, sum f y> / ||d||^2 for every target y, by block; divided by the sum of f^2 each is a beta."""

    activation: Float[np.ndarray, "latent block source"]
    activation_no_bias: Float[np.ndarray, "latent block source"]
    reconstruction: Float[np.ndarray, "latent block source"]
    error: Float[np.ndarray, "latent block source"]
    own: Float[np.ndarray, "latent block source"]
    """<d_h, sum f (e_h + f d_h)> / ||d_h||: the error along the target's own decoder, in units of length."""
    square: Float[np.ndarray, "latent block 1"]


@dataclass(frozen=True)
class Scaling:
    """Betas and nus of neighbouring latents (from `first` on) along one probe; [latent source] unless said otherwise.

    A nu is a beta over the same beta in the source `reference` [latent], signed. beta_own is the error's beta along the
    target's own decoder, and nu_own = beta_own ||d_h|| over the same in the reference: the relative decoder norm with
    its shrinkage undone, whichever way the decoder turned (0 where it has no length). `t_error` is the t-value of
    nu_error - threshold, worked out without the division, so that it stands where the reference's beta is near 0; it
    has `n_clusters` - 1 degrees of freedom. `t_reference` [latent]: the t-value of the reference's own beta_error.
    """

    first: int
    probe: Int[np.ndarray, " latent"]
    reference: Int[np.ndarray, " latent"]
    n_active: Int[np.ndarray, " latent"]
    n_clusters: Int[np.ndarray, " latent"]
    """Blocks of documents that the latent fires in."""
    beta_activation: Ratio
    beta_activation_no_bias: Ratio
    beta_reconstruction: Ratio
    beta_error: Ratio
    nu_activation: Ratio
    nu_activation_no_bias: Ratio
    nu_reconstruction: Ratio
    nu_error: Ratio
    beta_own: Ratio
    nu_own: Ratio
    t_error: Float[np.ndarray, "latent source"]
    t_reconstruction: Float[np.ndarray, "latent source"]
    t_own: Float[np.ndarray, "latent source"]
    t_reference: Float[np.ndarray, " latent"]


def iter_scaling(
    sums: ScalingSums,
    probe: int = 0,
    reference: Int[np.ndarray, " latent"] | int | None = None,
    reference_sums: tuple[ScalingSums, int] | None = None,
    threshold_error: float = 0.2,
    threshold_reconstruction: float = 0.5,
    chunk: int = CHUNK,
) -> Iterator[Scaling]:
    """The scaling of all latents of `sums` along one probe, `chunk` latents at a time.

    reference: the source that nu is relative to, one for all or one a latent; the probe's own source unless given.
    reference_sums: where the reference's betas come from, as (sums, probe), if not from the same probe (a control's
    nu is its beta over that of the true probe).
    """
    n_latents = len(sums.n_active)
    chosen = sums.probe_sources[probe] if reference is None else np.broadcast_to(reference, (n_latents,))
    for start in range(0, n_latents, chunk):
        part = slice(start, start + chunk)
        here = compute_targets(sums, probe, part)
        there = here if reference_sums is None else compute_targets(reference_sums[0], reference_sums[1], part)
        yield _scaling(sums, part, here, there, sums.probe_sources[probe][part], chosen[part], threshold_error,
                       threshold_reconstruction)  # fmt: skip


def compute_held_strength(
    sums: ScalingSums, norms: Float[np.ndarray, "latent source"]
) -> Float[np.ndarray, "latent source"]:
    """max(beta_own[j, s], 0) ||d_js||: what of a latent is in the source's own activations when it fires.

    beta_own is that of the error along the source's own decoder d_js, after all other latents' contributions are taken
    off; 0 where d_js has no length. Along one fixed direction a latent that turns would count as gone. A latent that
    never fires has no beta (NaN).
    """
    beta = np.concatenate([part.beta_own.value for part in iter_scaling(sums)])
    fires = (sums.n_active > 0)[:, None]
    return np.where(fires & (norms == 0), 0.0, np.maximum(beta, 0.0) * norms)


def compute_targets(sums: ScalingSums, probe: int = 0, part: slice = slice(None)) -> Targets:
    """Every target's numerators: the error's from the residual's, the reconstruction's from activation and residual."""
    square = sums.square[part, :, None]
    own = square if sums.gated_square is None else sums.gated_square[part]
    squared = sums.squared_norm[probe, part, None, None]
    activation, residual = sums.activation[probe, part] / squared, sums.residual[probe, part] / squared
    length = sums.own_norm[part, None]
    own_residual = sums.own_residual[part] / np.where(length > 0, length, np.nan)
    return Targets(
        own=np.where(length > 0, own_residual + own * length, 0.0),
        activation=activation,
        activation_no_bias=activation - sums.total[part, :, None] * sums.bias[probe, part, None],
        reconstruction=activation - residual,
        error=residual + own * sums.overlap[probe, part, None],
        square=square,
    )


def _scaling(
    sums: ScalingSums,
    part: slice,
    here: Targets,
    there: Targets,
    probe: Int[np.ndarray, " latent"],
    reference: Int[np.ndarray, " latent"],
    threshold_error: float,
    threshold_reconstruction: float,
) -> Scaling:
    at = reference[:, None, None]
    names = ("activation", "activation_no_bias", "reconstruction", "error", "own")
    below = {name: np.take_along_axis(getattr(there, name), at, 2) for name in names}
    error, reconstruction = below["error"], below["reconstruction"]
    # A latent that fires in a block has its square there: no need to look for numbers that are not 0.
    filled = (here.square > 0).sum(1)
    ratios = {f"beta_{name}": compute_block_ratio(getattr(here, name), here.square, filled) for name in names}
    length = np.where(sums.own_norm[part] > 0, sums.own_norm[part], np.nan)
    ratios["beta_own"] = Ratio(ratios["beta_own"].value / length, ratios["beta_own"].se / length)
    ratios |= {f"nu_{name}": compute_block_ratio(getattr(here, name), below[name], filled) for name in names}
    return Scaling(
        first=sums.first + (part.start or 0),
        probe=probe,
        reference=reference,
        n_active=sums.n_active[part],
        n_clusters=filled[:, 0],
        **ratios,
        t_error=compute_t(here.error - threshold_error * error, here.square, filled),
        t_reconstruction=compute_t(
            here.reconstruction - threshold_reconstruction * reconstruction, here.square, filled
        ),
        t_own=compute_t(here.own - threshold_error * below["own"], here.square, filled),
        t_reference=compute_t(error, here.square, filled)[:, 0],
    )


def compute_block_ratio(
    numerator: Float[np.ndarray, "latent block source"],
    denominator: Shaped[np.ndarray, "latent block _"],
    n_blocks: Int[np.ndarray, "latent 1"] | None = None,
) -> Ratio:
    """sum over blocks of the numerator over that of the denominator, with its standard error over blocks.

    n_blocks: blocks that hold anything; counted where not given.
    """
    below = denominator.sum(1)
    below = np.where(below != 0, below, np.nan)
    value = numerator.sum(1) / below
    filled = ((numerator != 0) | (denominator != 0)).sum(1) if n_blocks is None else n_blocks
    missing = np.isnan(value)
    residual = numerator - np.where(missing, 0, value)[:, None] * denominator
    spread = np.where(filled > 1, filled / np.maximum(filled - 1, 1), np.nan)
    se = np.sqrt(spread * np.einsum("lbs,lbs->ls", residual, residual)) / np.abs(below)
    return Ratio(value, np.where(missing, np.nan, se))


def compute_t(
    numerator: Float[np.ndarray, "latent block source"],
    square: Float[np.ndarray, "latent block 1"],
    n_blocks: Int[np.ndarray, "latent 1"] | None = None,
) -> Float[np.ndarray, "latent source"]:
    """The t-value of a beta with this numerator: beta / se(beta); infinite without spread, NaN without se."""
    ratio = compute_block_ratio(numerator, square, n_blocks)
    with np.errstate(divide="ignore", invalid="ignore"):
        return ratio.value / ratio.se
