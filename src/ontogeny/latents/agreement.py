"""How well one yes-or-no says another: Matthews' correlation of two of them, with its standard error."""

import numpy as np
from jaxtyping import Float, Shaped


def compute_mcc(
    tp: Shaped[np.ndarray, "..."],
    fp: Shaped[np.ndarray, "..."],
    fn: Shaped[np.ndarray, "..."],
    tn: Shaped[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """(tp·tn − fp·fn) / sqrt((tp + fp)(tp + fn)(tn + fp)(tn + fn)); NaN where a row or column of the table is empty."""
    a, b, c, d = (np.asarray(each, dtype=np.float64) for each in (tp, fp, fn, tn))
    with np.errstate(divide="ignore", invalid="ignore"):
        # The roots one by one: the product of four large counts would lose digits.
        value: np.ndarray = (a * d - b * c) / (np.sqrt(a + b) * np.sqrt(a + c) * np.sqrt(d + b) * np.sqrt(d + c))
    return np.where(np.isfinite(value), value, np.nan)


def compute_mcc_error(
    tp: Shaped[np.ndarray, "..."],
    fp: Shaped[np.ndarray, "..."],
    fn: Shaped[np.ndarray, "..."],
    tn: Shaped[np.ndarray, "..."],
) -> Float[np.ndarray, "..."]:
    """The large-sample standard error of Matthews' correlation φ over n independent tokens.

    n se² = 1 − φ² + φ(1 + φ²/2) (p₁ − p₀)(q₁ − q₀) / sqrt(p₁p₀q₁q₀) − ¾ φ² [(p₁ − p₀)²/(p₁p₀) + (q₁ − q₀)²/(q₁q₀)],
    p and q the margins. Source: Bishop, Fienberg & Holland 1975, Discrete Multivariate Analysis, eq. 11.3-12.
    """
    a, b, c, d = (np.asarray(each, dtype=np.float64) for each in (tp, fp, fn, tn))
    n = a + b + c + d
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = compute_mcc(a, b, c, d)
        p, q = (a + b) / n, (a + c) / n
        skew_p, skew_q = (2 * p - 1) / np.sqrt(p * (1 - p)), (2 * q - 1) / np.sqrt(q * (1 - q))
        variance = 1 - phi**2 + phi * (1 + phi**2 / 2) * skew_p * skew_q - 0.75 * phi**2 * (skew_p**2 + skew_q**2)
        return np.asarray(np.sqrt(np.maximum(variance, 0) / n))
