"""Planted clusters: unit vectors around centres, with known sizes and the cosines of a given sample."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MOST_DIMENSIONS = 4096


@dataclass(frozen=True)
class CosineLevels:
    """Cosines of a clustered sample: mean over pairs within clusters, mean and spread over pairs between clusters."""

    within: float
    between: float
    spread: float


@dataclass(frozen=True)
class PlantedSample:
    """Cosines of planted vectors, and whose each is; clusters by size."""

    similarity: Float[np.ndarray, "token token"]
    labels: Int[np.ndarray, " token"]


def measure_levels(similarity: Float[np.ndarray, "token token"], labels: Int[np.ndarray, " token"]) -> CosineLevels:
    """The levels of a sample; clusters of one have no pairs within."""
    same = labels[:, None] == labels[None]
    between = similarity[~same]
    within = similarity[same & ~np.eye(len(labels), dtype=bool)]
    return CosineLevels(
        float(within.mean()) if len(within) else 1.0,
        float(between.mean()) if len(between) else 0.0,
        float(between.std()) if len(between) else 0.0,
    )


def plant_sizes(n_tokens: int, n_clusters: int, exponent: float) -> Int[np.ndarray, " cluster"]:
    """Whole sizes ∝ rank^−exponent that add up to `n_tokens`; those below one are left out.

    Largest remainders: no size is off by more than one.
    """
    share = np.arange(1, n_clusters + 1, dtype=np.float64) ** -exponent
    exact = n_tokens * share / share.sum()
    kept = exact[exact >= 1] if (exact >= 1).any() else exact[:1]
    exact = kept * n_tokens / kept.sum()
    sizes = np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - exact, kind="stable")[: n_tokens - int(sizes.sum())]] += 1
    return np.sort(sizes)[::-1]


def plant_like(sizes: Int[np.ndarray, " cluster"], levels: CosineLevels, seed: int = 0) -> PlantedSample:
    """v = √b · m + √(w − b) · c_k + √(1 − w) · ε, with m and all c_k orthogonal, ε random unit vectors of D dimensions.

    Cosines are w within and b between clusters on average, and spread by (1 − w) / √D between them, which gives D.
    """
    between = max(levels.between, 0.0)
    within = min(max(levels.within, between), 1.0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    wanted = ((1 - within) / levels.spread) ** 2 if levels.spread > 0 else MOST_DIMENSIONS
    noise = np.random.default_rng(seed).normal(size=(len(labels), int(np.clip(wanted, 2, MOST_DIMENSIONS))))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    same = labels[:, None] == labels[None]
    similarity = between + (within - between) * same + (1 - within) * (noise @ noise.T)
    return PlantedSample(similarity, labels)
