"""Latents drawn at random, to compare the first of a ranking with."""

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.ablation.config import Control

NEAREST = 5
"""A matched latent is one of this many that are nearest."""


def draw_control(
    kind: Control,
    reference: Int[np.ndarray, "ranked"],
    latents: Int[np.ndarray, "latent"],
    values: Float[np.ndarray, "latent"],
    count: int,
    seed: int,
) -> Int[np.ndarray, "drawn"]:
    """As many of the active `latents` as there are to compare, in order.

    random: any of them. norm_matched, activation_matched: for each of the reference's first, one of those nearest to it
    in `values` (their places in order of it are compared, so that no unit matters), each once, and none of the
    reference's own first `count` (at most half of all latents).
    """
    draw = np.random.default_rng(seed)
    if kind == "random":
        return np.asarray(draw.permutation(latents))
    first = reference[np.isin(reference, latents)][: min(count, len(latents) // 2)]
    place = np.empty(len(latents))
    place[np.argsort(values, kind="stable")] = np.arange(len(latents))
    targets = place[np.searchsorted(latents, first)]
    free = ~np.isin(latents, first)
    chosen = []
    for target in targets:
        distance = np.where(free, np.abs(place - target), np.inf)
        n_free = min(NEAREST, int(free.sum()))
        near = np.argpartition(distance, n_free - 1)[:n_free]
        chosen.append(int(draw.choice(np.sort(near))))
        free[chosen[-1]] = False
    return np.asarray(latents[np.array(chosen, dtype=np.int64)])
