"""Latents drawn at random, to compare the first of a ranking with."""

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.ablation.config import Control
from ontogeny.latents.controls import draw_matched

NEAREST = 5
"""A matched latent is one of this many that are nearest."""
MOST_MATCHED = 2_048
"""Latents of a reference that are matched at most: each looks at all that are left."""


def draw_control(
    kind: Control,
    reference: Int[np.ndarray, "ranked"],
    latents: Int[np.ndarray, "latent"],
    values: Float[np.ndarray, "latent"],
    count: int,
    seed: int,
) -> Int[np.ndarray, "drawn"]:
    """Active `latents` in the order in which they are compared with the reference's, at most `count` if matched.

    random: any of them. norm_matched, activation_matched: for each of the reference, one of those nearest to it in
    `values` (their places in order of it are compared, so that no unit matters): never itself, each once. So a set of n
    holds as few of the reference's first n as chance has it.
    """
    if kind == "random":
        return np.asarray(np.random.default_rng(seed).permutation(latents))
    first = reference[np.isin(reference, latents)][: min(count, MOST_MATCHED)]
    drawn = draw_matched(np.searchsorted(latents, first), values, NEAREST, seed, itself=False)
    return np.asarray(latents[drawn])
