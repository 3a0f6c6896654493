"""How alike snapshots are, and which few of them cover the most change. Pure numpy."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

SIMILARITIES = ("cosine", "cosine_centred", "pearson", "cka")


def compute_similarities(
    activations: Sequence[Float[np.ndarray, "token d_model"]],
) -> dict[str, Float[np.ndarray, "snapshot snapshot"]]:
    """Every pair of snapshots on the same tokens; each snapshot is prepared once.

    cosine: mean over tokens of cos(x_a, x_b); cosine_centred: the same less each snapshot's mean activation; pearson:
    mean over tokens of the correlation over dimensions; cka: ||X_a' X_b||^2 / (||X_a' X_a|| ||X_b' X_b||), centred.
    Sources: arXiv 2509.05291 (cosine, pearson); Kornblith et al. 2019 (CKA).
    """
    n = len(activations)
    plain = [each.astype(np.float64) for each in activations]
    centred = [each - each.mean(axis=0) for each in plain]
    within = [each - each.mean(axis=1, keepdims=True) for each in plain]
    prepared = {"cosine": _unit(plain), "cosine_centred": _unit(centred), "pearson": _unit(within)}
    found = {name: np.eye(n) for name in SIMILARITIES}
    own = [float(np.linalg.norm(each.T @ each)) for each in centred]
    for a in range(n):
        for b in range(a + 1, n):
            for name, vectors in prepared.items():
                found[name][a, b] = found[name][b, a] = (vectors[a] * vectors[b]).sum(axis=1).mean()
            cross = float(np.square(centred[a].T @ centred[b]).sum())
            found["cka"][a, b] = found["cka"][b, a] = cross / (own[a] * own[b]) if own[a] * own[b] > 0 else np.nan
    return found


def _unit(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in vectors]
    return [np.divide(each, size, out=np.zeros_like(each), where=size > 0) for each, size in zip(vectors, lengths)]


def choose_snapshots(gain: Float[np.ndarray, "snapshot snapshot"], count: int) -> list[int]:
    """`count` snapshots in order that maximise the sum of `gain` over neighbours among them, by dynamic programming.

    best[k, j] = max over i < j of best[k - 1, i] + gain[i, j]; all snapshots where there are no more than `count`.
    """
    n = len(gain)
    if n <= count:
        return list(range(n))
    best, came = np.zeros(n), np.zeros((count, n), dtype=int)
    for k in range(1, count):
        reach = np.where(np.tri(n, k=-1, dtype=bool).T, best[:, None] + gain, -np.inf)
        came[k], best = reach.argmax(axis=0), reach.max(axis=0)
    path = [int(best.argmax())]
    for k in range(count - 1, 0, -1):
        path.append(int(came[k, path[-1]]))
    return path[::-1]
