"""Loss curves of single tokens, [token column], over model sizes or snapshots: sudden or gradual, kept, alike.

Source: Michaud et al. 2023, arXiv 2303.13506, and its notebooks (thresholds, fits).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.errors import AnalysisError, NonFiniteError

HIGH, LOW = 5.0, 0.3
"""Nats above and below which a monogenic token's loss is, as published."""
SLOPE, R2 = -0.3, 0.98
"""Slope in nats per e-fold, and R², of a polygenic token, as published."""


@dataclass(frozen=True)
class PowerLaw:
    """L = constant · x^exponent, by least squares of log L on log x; standard errors as of independent errors."""

    exponent: float
    exponent_se: float
    constant: float
    r2: float
    n: int


def fit_power_law(x: Float[np.ndarray, " point"], loss: Float[np.ndarray, " point"]) -> PowerLaw:
    """The power law through some points; the standard error is NaN for two. AnalysisError for fewer than two x."""
    if len(np.unique(x)) < 2 or (x <= 0).any() or (loss <= 0).any():
        raise AnalysisError(
            f"a power law needs two different points above 0 and there are {len(np.unique(x[x > 0]))}; give more "
            "snapshots or sizes."
        )
    at, value = np.log(x), np.log(loss)
    centred = at - at.mean()
    exponent = float(centred @ value / (centred @ centred))
    rest = value - value.mean() - exponent * centred
    spread = float(np.square(value - value.mean()).sum())
    se = np.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)) if len(x) > 2 else np.nan
    r2 = 1 - float(rest @ rest) / spread if spread > 0 else np.nan
    return PowerLaw(exponent, float(se), float(np.exp(value.mean() - exponent * at.mean())), r2, len(x))


def mark_monogenic(
    losses: Float[np.ndarray, "token column"], high: float = HIGH, low: float = LOW
) -> Int[np.ndarray, " token"]:
    """The column j ≥ 1 at which a token is learned at once: above `high` before it, below `low` from it on; 0: none.

    The published code reads columns before j for both plateaus, and so finds none.
    """
    n_columns = losses.shape[1]
    above = np.cumprod(losses > high, axis=1).sum(axis=1)
    below = np.cumprod((losses < low)[:, ::-1], axis=1).sum(axis=1)
    found: np.ndarray = np.where((above >= 1) & (below >= 1) & (above + below == n_columns), above, 0)
    return found


@dataclass(frozen=True)
class TokenSlopes:
    """Least squares of each token's loss on ln x: nats per e-fold, and R² (0 for a loss that never changes)."""

    slope: Float[np.ndarray, " token"]
    r2: Float[np.ndarray, " token"]

    def polygenic(self, slope: float = SLOPE, r2: float = R2) -> Bool[np.ndarray, " token"]:
        """Falling so steeply, and so straight: many quanta help, one after another."""
        return (self.slope < slope) & (self.r2 > r2)


def fit_token_slopes(losses: Float[np.ndarray, "token column"], x: Float[np.ndarray, " column"]) -> TokenSlopes:
    """The slopes of all tokens. AnalysisError with fewer than three x above 0 (two are always on a line)."""
    if len(np.unique(x)) < 3 or (x <= 0).any():
        raise AnalysisError(f"slopes need three columns with x above 0, and there are {len(np.unique(x[x > 0]))}.")
    at = np.log(x) - np.log(x).mean()
    centred = losses.astype(np.float64) - losses.mean(axis=1, dtype=np.float64, keepdims=True)
    slope = centred @ at / (at @ at)
    spread = np.square(centred).sum(axis=1)
    rest = np.square(centred - slope[:, None] * at).sum(axis=1)
    # A loss that moves by rounding alone is on no line.
    moved = spread > 1e-12
    return TokenSlopes(slope, np.where(moved, 1 - rest / np.where(moved, spread, 1), 0.0))


@dataclass(frozen=True)
class Solved:
    """`first`: the first column with a token's loss below a threshold, −1 if none; `stays`: so in all later ones."""

    first: Int[np.ndarray, " token"]
    stays: Bool[np.ndarray, " token"]


def find_solved(losses: Float[np.ndarray, "token column"], low: float = LOW) -> Solved:
    """When tokens are solved, and whether they stay so."""
    below = losses < low
    first = np.where(below.any(axis=1), below.argmax(axis=1), -1)
    return Solved(first, (first >= 0) & (below.sum(axis=1) == losses.shape[1] - first))


def check_columns(n_columns: int) -> None:
    """AnalysisError with too few columns for correlations of loss curves: over two, each is 1 or −1."""
    if n_columns < 3:
        raise AnalysisError(
            f"correlations of loss curves need three snapshots and there are {n_columns}; take more snapshots, or "
            'quanta.kernel = "gradients".'
        )


def correlate_curves(
    losses: Float[np.ndarray, "token column"], tokens: Int[np.ndarray, " token"] | None = None
) -> Float[np.ndarray, "token token"]:
    """Correlation of tokens' loss curves over columns, a kernel as cosines of gradients are one.

    `tokens`: their canonical indices, for the error.

    AnalysisError with fewer than three columns; NonFiniteError names a token whose loss never changes.
    """
    check_columns(losses.shape[1])
    centred = losses.astype(np.float64) - losses.mean(axis=1, dtype=np.float64, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    flat = np.flatnonzero(~(length > 1e-6))
    if len(flat):
        name = f"row {flat[0]}" if tokens is None else f"the token of canonical index {tokens[flat[0]]}"
        raise NonFiniteError(
            f"the loss of {name} is the same in all snapshots or not finite, so that its correlation "
            "with others is not defined; leave that token out."
        )
    unit = centred / length[:, None]
    return np.asarray(np.clip(unit @ unit.T, -1, 1))
