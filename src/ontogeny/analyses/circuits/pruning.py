"""Circuits of ever more edges: by their effect, and drawn at random as a control. Pure numpy."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.latents.controls import draw_matched

Ranking = Literal["effect", "random", "matched"]
RANKINGS: tuple[Ranking, ...] = ("effect", "random", "matched")
NEAREST = 10
"""An edge is matched by one of this many of the nearest weight."""


def choose_sizes(n_edges: int) -> Int[np.ndarray, "size"]:
    """0, 1, 2, 4, ... and all edges."""
    doubling = 2 ** np.arange(int(n_edges).bit_length())
    return np.unique(np.concatenate([[0], doubling[doubling < n_edges], [n_edges]])).astype(np.int64)


def take_first(strength: Float[np.ndarray, "upstream downstream"], count: int) -> Int[np.ndarray, "edge 2"]:
    """The edges of the largest strength, the strongest first; none without any."""
    order = np.argsort(-strength.reshape(-1), kind="stable")[:count]
    order = order[strength.reshape(-1)[order] > 0]
    return np.stack(np.unravel_index(order, strength.shape), axis=1).astype(np.int64)


def rank_edges(
    ranking: Ranking,
    strength: Float[np.ndarray, "upstream downstream"],
    weights: Float[np.ndarray, "upstream downstream"],
    sizes: Int[np.ndarray, "size"],
    seed: int,
) -> list[Bool[np.ndarray, "upstream downstream"]]:
    """One circuit a size, each with the edges of the one before; edges without weight move nothing and are in none.

    effect: by strength. random: any order. matched: for each edge by strength, one of the `NEAREST` edges that are
    nearest in weight (by rank, so that no unit matters) and not yet taken, so that what is moved is as much.
    """
    flat, heavy = weights.reshape(-1), np.flatnonzero(weights.reshape(-1) > 0)
    order = heavy[np.argsort(-strength.reshape(-1)[heavy], kind="stable")]
    if ranking == "random":
        order = np.random.default_rng(seed).permutation(heavy)
    if ranking == "matched":
        order = order[draw_matched(np.arange(len(order)), flat[order], NEAREST, seed, itself=True)]
    circuits = []
    for size in sizes:
        circuit = np.zeros(weights.size, dtype=bool)
        circuit[order[:size]] = True
        circuits.append(circuit.reshape(weights.shape))
    return circuits
