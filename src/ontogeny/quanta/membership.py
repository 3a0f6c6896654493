"""Tokens that rest on several quanta: shares in clusters instead of one label.

The clean affinity A (0 for orthogonal gradients) is written as H Hᵀ with H ≥ 0 [token cluster], starting at the hard
labels; the diagonal is left open, since a token's affinity to itself says nothing. A token's shares are its row of H
over the row's sum.
Source: symmetric non-negative factorisation, Ding, He and Simon 2005, eq. 13 (β = ½).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.quanta.affinity import compute_regularised_affinity

TINY = 1e-12


@dataclass(frozen=True)
class Membership:
    """Shares [token cluster], rows add up to 1; `explained`: 1 − |A − H Hᵀ|² / |A|² off the diagonal."""

    shares: Float[np.ndarray, "token cluster"]
    explained: float

    @property
    def entropy(self) -> Float[np.ndarray, " token"]:
        """−Σ p ln p of every token's shares, nats."""
        return np.asarray(-(self.shares * np.log(np.maximum(self.shares, TINY))).sum(axis=1))

    @property
    def n_effective(self) -> Float[np.ndarray, " token"]:
        """exp(entropy): over how many clusters a token is spread."""
        return np.asarray(np.exp(self.entropy))

    def monogenic(self, least: float = 0.8) -> Bool[np.ndarray, " token"]:
        """One cluster has at least this share of the token."""
        return np.asarray(self.shares.max(axis=1) >= least)

    def polygenic(self, least: float = 2.0) -> Bool[np.ndarray, " token"]:
        """The token is spread over at least so many clusters."""
        return self.n_effective >= least


def compute_membership(
    similarity: Float[np.ndarray, "token token"],
    labels: Int[np.ndarray, " token"],
    n_steps: int = 200,
    tolerance: float = 1e-5,
) -> Membership:
    """Soft membership in the clusters of `labels`, from cosines; deterministic.

    H ← H · (½ + ½ (A H) / (H HᵀH)) until |A − H Hᵀ|² falls by less than `tolerance` of |A|² in ten steps.
    """
    affinity = compute_regularised_affinity(np.asarray(similarity, dtype=np.float64), background=0.0)
    off = ~np.eye(len(affinity), dtype=bool)
    np.fill_diagonal(affinity, 0.0)
    weight = float(np.square(affinity).sum())
    if weight == 0:
        return Membership(np.eye(int(labels.max()) + 1)[labels], 0.0)
    start = np.eye(int(labels.max()) + 1)[labels]
    factor = (start + 0.05) * np.sqrt(affinity[off].max(initial=0.0))
    left = np.inf
    for step in range(n_steps):
        own = np.square(factor).sum(axis=1, keepdims=True)
        reached = affinity @ factor + own * factor  # A with the diagonal of H Hᵀ
        factor *= 0.5 + 0.5 * reached / np.maximum(factor @ (factor.T @ factor), TINY)
        if step % 10 == 9:
            rest = _residual(affinity, factor)
            if left - rest < tolerance * weight:
                break
            left = rest
    total = factor.sum(axis=1, keepdims=True)
    shares = np.where(total > TINY, factor / np.maximum(total, TINY), start)
    return Membership(shares, 1 - _residual(affinity, factor) / weight)


def _residual(affinity: Float[np.ndarray, "token token"], factor: Float[np.ndarray, "token cluster"]) -> float:
    """|A − H Hᵀ|² off the diagonal, without a third matrix of all pairs."""
    own = np.square(factor).sum(axis=1)
    product = np.square(factor.T @ factor).sum() - np.square(own).sum()
    return float(np.square(affinity).sum() - 2 * (factor * (affinity @ factor)).sum() + product)
