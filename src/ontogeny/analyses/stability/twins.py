"""Twins: two latents of one dictionary that live in different sources and point the same way there.

A dictionary that splits one feature by source makes two latents of it. They are found by their decoders, each at its
own peak source; whether they are on together says whether they are one feature. divergence = (A alone + B alone) /
(A or B), counted over tokens on which a latent is on strongly: 0 for one feature, 1 for two.
Source: Minder et al. 2025 (arXiv 2504.02922), its twins and their activation divergence.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.latents.cache import CodeCache
from ontogeny.latents.matching import find_best, unit_rows

NEIGHBOURS = 16
"""Most similar latents looked at for each."""


@dataclass(frozen=True)
class Twins:
    """Pairs, the most similar first; `first` < `second`. All [pair]."""

    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    cosine: Float[np.ndarray, " pair"]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Divergence:
    """Tokens on which either is on strongly, on which both are, and on which one is while the other is off."""

    n_tokens: int
    n_both: int
    n_alone: int

    @property
    def share(self) -> float | None:
        """n_alone / n_tokens; None where neither is ever on."""
        return self.n_alone / self.n_tokens if self.n_tokens else None

    @property
    def se(self) -> float | None:
        """The binomial standard error, tokens taken for independent."""
        share = self.share
        return None if share is None else float(np.sqrt(share * (1 - share) / self.n_tokens))


def find_twins(
    directions: Float[Tensor, "latent d_model"], live: Bool[np.ndarray, "latent source"], threshold: float
) -> Twins:
    """Pairs of latents with disjoint, non-empty lives whose directions have at least this cosine."""
    partial = np.flatnonzero(live.any(axis=1) & ~live.all(axis=1))
    if len(partial) < 2:
        return Twins(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    unit = unit_rows(directions[torch.from_numpy(partial).to(directions.device)])
    cosines, places = find_best(unit, unit, NEIGHBOURS + 1)
    rows, columns = np.nonzero(cosines >= threshold)
    first, second = partial[rows], partial[places[rows, columns]]
    apart = ~(live[first] & live[second]).any(axis=1) & (first != second)
    pairs = np.sort(np.stack([first[apart], second[apart]], axis=1), axis=1)
    pairs, once = np.unique(pairs, axis=0, return_index=True)
    cosine = cosines[rows, columns][apart][once]
    order = np.argsort(-cosine, kind="stable")
    return Twins(pairs[order, 0], pairs[order, 1], cosine[order])


def draw_partners(
    pairs: Twins, live: Bool[np.ndarray, "latent source"], alive: Bool[np.ndarray, " latent"], seed: int
) -> Int[np.ndarray, " pair"]:
    """For every pair's first latent a random other one that lives in none of its sources: the control; −1 if none."""
    generator = np.random.default_rng(seed)
    partners = np.full(len(pairs), -1, dtype=np.int64)
    for place, latent in enumerate(pairs.first):
        apart = np.flatnonzero(~(live & live[latent]).any(axis=1) & live.any(axis=1) & alive)
        if len(apart):
            partners[place] = generator.choice(apart)
    return partners


def compute_divergence(codes: CodeCache, first: int, second: int, high: float, low: float) -> Divergence:
    """How often one of two latents is on strongly while the other is off, each against its own largest code."""
    (tokens_a, a), (tokens_b, b) = codes.latent(first), codes.latent(second)
    if len(a) == 0 or len(b) == 0:
        return Divergence(0, 0, 0)
    tokens = np.union1d(tokens_a, tokens_b)
    share = np.zeros((2, len(tokens)))
    share[0, np.searchsorted(tokens, tokens_a)] = a / a.max()
    share[1, np.searchsorted(tokens, tokens_b)] = b / b.max()
    strong, off = share > high, share <= low
    alone = (strong[0] & off[1]) | (strong[1] & off[0])
    return Divergence(int(strong.any(axis=0).sum()), int(strong.all(axis=0).sum()), int(alone.sum()))
