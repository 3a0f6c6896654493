"""Many latents, many tests: p-values of t-values, and the share of false discoveries among what is called."""

import numpy as np
from jaxtyping import Float, Shaped


def compute_p(
    t: Float[np.ndarray, "..."], degrees: Shaped[np.ndarray, "..."], *, above: bool
) -> Float[np.ndarray, "..."]:
    """P(T >= t) of Student's t if `above`, else P(T <= t); NaN where t is, or where a degree of freedom is lacking."""
    from scipy import stats

    known = np.where(degrees > 0, degrees, np.nan)
    p: np.ndarray = stats.t.sf(t if above else -t, known)
    return p


def adjust_p(p: Float[np.ndarray, "..."], n_tests: int | None = None) -> Float[np.ndarray, "..."]:
    """The adjusted p-values (q) over all entries that are not NaN: calling q <= a keeps false discoveries below a.

    q_(i) = min over k >= i of p_(k) n / k, in order of p; NaN stays NaN and counts as no test. `n_tests`: n where
    tests with p = 1 were made and are not listed.
    Source: Benjamini & Hochberg 1995.
    """
    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    values = p[tested]
    order = np.argsort(values, kind="stable")
    scaled = values[order] * (len(values) if n_tests is None else n_tests) / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    q[tested] = adjusted
    return q
