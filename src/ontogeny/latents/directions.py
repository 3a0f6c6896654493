"""Where the decoders of a latent point: cosines across sources, rotation, the turning point, feature dimensionality.

Directions have no scale, so all of this is the same in raw and in normalised space, and before and after folding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import beta
from torch import Tensor

BLOCK_NUMBERS = 1 << 22
"""Numbers of a block of latents held in float64 at a time (32 MiB)."""


@dataclass(frozen=True)
class TurningPoints:
    """One turn in the direction of every latent: the contiguous split of the sources that explains most of its scatter.

    `place` is the first source of the new direction (−1 where there are fewer than three sources or no direction).
    `explained` is the share of the scatter of the unit vectors around their mean that the split explains; `cosine` that
    of the mean directions before and after. Two nulls are explained as well in a share of cases: the latent's sources
    in random order (`p_value`), and random directions of its norms (`p_random`).
    """

    place: Int[np.ndarray, " latent"]
    explained: Float[np.ndarray, " latent"]
    cosine: Float[np.ndarray, " latent"]
    p_value: Float[np.ndarray, " latent"]
    p_random: Float[np.ndarray, " latent"]


def iter_blocks(n_latents: int, numbers_per_latent: int) -> Iterator[slice]:
    """Blocks of neighbouring latents that hold at most `BLOCK_NUMBERS` numbers (one latent at least)."""
    size = max(1, BLOCK_NUMBERS // max(numbers_per_latent, 1))
    for start in range(0, n_latents, size):
        yield slice(start, min(start + size, n_latents))


@torch.no_grad()
def compute_cosines(W_dec: Float[Tensor, "latent source d_model"]) -> Float[np.ndarray, "latent source source"]:
    """cos[j, s, t] = <W_dec[j, s], W_dec[j, t]> / (||W_dec[j, s]|| ||W_dec[j, t]||); NaN where a norm is 0. Float64."""
    vectors = W_dec.detach().double()
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    units = vectors / torch.where(norms > 0, norms, torch.nan)
    cosines: np.ndarray = (units @ units.mT).clamp_(-1.0, 1.0).cpu().numpy()
    return cosines


def compute_turning_points(
    cosines: Float[np.ndarray, "latent source source"],
    weight: Float[np.ndarray, "latent source"],
    d_model: int,
    permutations: int = 99,
    seed: int = 0,
) -> TurningPoints:
    """The best single change-point of each latent's directions u_s with weights w_s ≥ 0 (its decoder norms).

    With A, B the squared lengths of Σ w_s u_s over the sources before and from k on, a, b their weights' sums, and T,
    n the same over all: explained(k) = (A/a + B/b − T/n) / (n − T/n), the share of Σ w_s ||u_s − mean||² that two means
    explain beyond one; place = argmax_k. A source with weight 0 has no say. Both nulls use the same `permutations`
    orders and draws for all latents; p = (1 + those that reach it) / (1 + permutations).
    """
    n_latents, n_sources = weight.shape
    nothing = np.full(n_latents, np.nan)
    if n_sources < 3:
        return TurningPoints(np.full(n_latents, -1), nothing, nothing, nothing, nothing)
    total = weight.sum(axis=1, keepdims=True)
    share = np.divide(weight, total, out=np.zeros_like(weight, dtype=np.float64), where=total > 0)
    pairs = (share[:, :, None] * share[:, None, :]).reshape(n_latents, -1)
    gram = np.nan_to_num(cosines).reshape(n_latents, -1) * pairs
    in_order = np.arange(n_sources)
    explained, cosine = _splits(gram, share, in_order)
    best = explained.argmax(axis=1)
    rows = np.arange(n_latents)
    value = explained[rows, best]
    generator = np.random.default_rng(seed)
    reached, drawn = np.ones(n_latents), np.ones(n_latents)
    for _ in range(permutations):
        shuffled, _ = _splits(gram, share, generator.permutation(n_sources))
        reached += shuffled.max(axis=1) >= value - 1e-12
        units = generator.normal(size=(n_sources, d_model))
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        random, _ = _splits(pairs, share, in_order, (units @ units.T).ravel())
        drawn += random.max(axis=1) >= value - 1e-12
    pointing = (share > 0).sum(axis=1) >= 3
    return TurningPoints(
        np.where(pointing, best + 1, -1),
        np.where(pointing, value, np.nan),
        np.where(pointing, cosine[rows, best], np.nan),
        np.where(pointing, reached / (1 + permutations), np.nan),
        np.where(pointing, drawn / (1 + permutations), np.nan),
    )


def _splits(
    gram: Float[np.ndarray, "latent pair"],
    share: Float[np.ndarray, "latent source"],
    order: Int[np.ndarray, " source"],
    factor: Float[np.ndarray, " pair"] | float = 1.0,
) -> tuple[Float[np.ndarray, "latent split"], Float[np.ndarray, "latent split"]]:
    """What every split of the sources in this order explains, and the cosine between the two means.

    Split i starts anew at the order's source i + 1. `gram`, times `factor`, holds w_s w_t u_s·u_t with weights that sum
    to 1, so that block sums are squared lengths; all blocks of all latents are one product with a table of zeros and
    ones, and another order is another table.
    """
    n_sources = len(order)
    early = np.empty((n_sources, n_sources - 1))
    early[order] = np.arange(n_sources)[:, None] <= np.arange(n_sources - 1)
    both = (early[:, None] * early[None, :]).reshape(n_sources**2, -1)
    one = (early[:, None] * (1 - early[None, :])).reshape(n_sources**2, -1)
    every = np.ones((n_sources**2, 1))
    sums = gram @ (np.concatenate([both, one, every], axis=1) * np.reshape(factor, (-1, 1)))
    before, across, whole = np.split(sums, [n_sources - 1, 2 * (n_sources - 1)], axis=1)
    after = whole - 2 * across - before
    weight = share @ early
    zeros = np.zeros_like(before)
    parts = np.divide(before, weight, out=zeros.copy(), where=weight > 1e-12)
    parts += np.divide(after, 1 - weight, out=zeros.copy(), where=1 - weight > 1e-12)
    scatter = 1.0 - whole
    # Below float64's rounding there is no scatter to explain: all sources point the same way.
    explained = np.divide(parts - whole, scatter, out=zeros.copy(), where=scatter > 1e-12)
    lengths = np.sqrt(np.maximum(before, 0) * np.maximum(after, 0))
    cosine = np.divide(across, lengths, out=np.full_like(before, np.nan), where=lengths > 0)
    return explained, np.clip(cosine, -1.0, 1.0)


def least_turning_p(n_sources: int) -> float:
    """The least p_value that a perfect turn can have: 2 k! (n − k)! of n! orders keep its two sides, for k = n / 2."""
    half = n_sources // 2
    orders_kept = math.factorial(half) * math.factorial(n_sources - half) * (2 if n_sources > 1 else 1)
    return orders_kept / math.factorial(n_sources)


def random_cosine_bound(d_model: int, level: float = 0.95) -> float:
    """The c with P(|cos| ≤ c) = level for independent random directions: cos² ~ Beta(1/2, (d_model − 1)/2)."""
    return float(np.sqrt(beta.ppf(level, 0.5, (d_model - 1) / 2))) if d_model > 1 else 1.0


@torch.no_grad()
def compute_dimensionality(
    vectors: Float[Tensor, "latent d_model"], chosen: Bool[np.ndarray, " latent"] | None = None
) -> Float[np.ndarray, " latent"]:
    """D_i = ||w_i||² / Σ_j (ŵ_i·w_j)² = ||w_i||² / (ŵ_iᵀ (Σ_j w_j w_jᵀ) ŵ_i) over the chosen latents, NaN for others.

    1 for a direction of its own, 1/n where n equal latents share one; Σ_i D_i ≤ d_model. The second moment makes it
    exact at the cost of two products with a d_model × d_model matrix. Elhage et al. 2022, Toy Models of Superposition.
    """
    n_latents, d_model = vectors.shape
    member = torch.ones(n_latents, dtype=torch.bool) if chosen is None else torch.from_numpy(chosen)
    moment = torch.zeros(d_model, d_model, dtype=torch.float64, device=vectors.device)
    for block in iter_blocks(n_latents, d_model):
        part = vectors[block][member[block].to(vectors.device)].double()
        moment += part.mT @ part
    dimensionality = np.full(n_latents, np.nan)
    for block in iter_blocks(n_latents, d_model):
        part = vectors[block].double()
        squares = part.square().sum(dim=1)
        overlap = (part @ moment * part).sum(dim=1)
        dimensionality[block] = torch.where(overlap > 0, squares.square() / overlap, torch.nan).cpu().numpy()
    dimensionality[~member.numpy()] = np.nan
    return dimensionality


def random_dimensionality(norms: Float[np.ndarray, " latent"], d_model: int) -> Float[np.ndarray, " latent"]:
    """The control: D_i of independent uniform directions with these norms, with its denominator's expectation.

    D_i = ||w_i||² / (||w_i||² + (Σ_j ||w_j||² − ||w_i||²) / d_model), since E (ŵ_i·w_j)² = ||w_j||² / d_model; NaN for
    norm 0.
    """
    squares = np.square(norms.astype(np.float64))
    below = squares + (squares.sum() - squares) / d_model
    return np.divide(squares, below, out=np.full(len(squares), np.nan), where=squares > 0)
