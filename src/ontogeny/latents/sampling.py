"""Which tokens to show of a latent: its strongest, some of every part of its range, and some where it is silent.

A sample is a function of the seed, the latent and the tokens alone: every token has a priority, a hash of the three,
and those of largest priority are taken. So neither batches nor the order of merging nor other latents change it. Never
two tokens of one document in one list, else a single text would fill it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt64

from ontogeny.hashing import mix64
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import DocumentRuns, Documents

_LOW = 0xFFFFFFFF
_CANDIDATES = 8
"""Tokens drawn for every control wanted; most of them serve unless the latent is on nearly everywhere."""


@dataclass(frozen=True)
class Choice:
    """Chosen tokens of the pass, by latent (counted from the block's first), then by rank; `bins` -1 where none."""

    latents: Int[np.ndarray, " chosen"]
    tokens: Int[np.ndarray, " chosen"]
    ranks: Int[np.ndarray, " chosen"]
    bins: Int[np.ndarray, " chosen"]

    @staticmethod
    def concatenate(parts: Sequence["Choice"]) -> "Choice":
        """All parts, one after the other."""
        columns = ("latents", "tokens", "ranks", "bins")
        return Choice(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def compute_priorities(
    seed: int, latents: Int[np.ndarray, "*shape"], tokens: Int[np.ndarray, "*shape"]
) -> UInt64[np.ndarray, "*shape"]:
    """A hash of (seed, latent, token), by the finaliser of splitmix64 (Steele et al. 2014) after each of the three."""
    mixed = mix64(np.array([seed], dtype=np.uint64))
    for part in (latents, tokens):
        mixed = mix64(mixed + part.astype(np.uint64))
    return mixed


def choose_strongest(block: LatentBlock, documents: Documents, count: int) -> Choice:
    """The tokens of the largest values, the earlier of equal ones."""
    return _choose(block, documents, block.values.view(np.uint32).astype(np.uint64), count)


def choose_from_bins(
    block: LatentBlock, documents: Documents, bins: Int[np.ndarray, " pair"], n_bins: int, count: int, seed: int
) -> Choice:
    """`count` tokens at random of each bin of a latent's pairs."""
    priorities = compute_priorities(seed, block.first + block.latents, block.tokens) >> np.uint64(32)
    parts = []
    for number in range(n_bins):
        inside = bins == number
        chosen = _choose(block.keep(inside), documents, priorities[inside], count)
        parts.append(Choice(chosen.latents, chosen.tokens, chosen.ranks, np.full_like(chosen.bins, number)))
    return Choice.concatenate(parts)


def quantile_bins(block: LatentBlock, n_bins: int) -> Int[np.ndarray, " pair"]:
    """Which n-th of its latent's values a pair lies in: bin b from the quantile b / n_bins on."""
    bins = np.zeros(len(block.values), dtype=np.int64)
    for number in range(1, n_bins):
        bins += block.values >= block.quantile(number / n_bins)[block.latents]
    return bins


def level_bins(block: LatentBlock, n_bins: int) -> Int[np.ndarray, " pair"]:
    """Which n-th of the way from 0 to its latent's largest value a pair lies in."""
    share = block.values / block.quantile(1.0)[block.latents]
    return np.minimum(share * n_bins, n_bins - 1).astype(np.int64)


def choose_controls(block: LatentBlock, documents: Documents, count: int, before: int, after: int, seed: int) -> Choice:
    """Tokens at random of each latent that fires at all, in whose neighbourhood it does not.

    The latent is on nowhere from `before` tokens of the pass before to `after` behind. Fewer than `count` where a
    latent leaves so little room that few of the tokens drawn will do.
    """
    n_tokens, n_drawn = len(documents.of), _CANDIDATES * count
    latents = np.repeat(np.arange(block.n_latents), n_drawn).reshape(block.n_latents, n_drawn)
    draws = np.broadcast_to(np.arange(n_drawn), latents.shape)
    # Another seed than the bins', since a draw's number is no token.
    tokens = (compute_priorities(~seed & _LOW, block.first + latents, draws) % np.uint64(n_tokens)).astype(np.int64)
    keys = block.latents * n_tokens + block.tokens
    low = latents * n_tokens + np.maximum(tokens - before, 0)
    high = latents * n_tokens + np.minimum(tokens + after, n_tokens - 1)
    silent = np.searchsorted(keys, low) == np.searchsorted(keys, high, side="right")
    silent &= (block.counts > 0)[:, None]
    of = documents.of[tokens]
    for draw in range(1, n_drawn):
        silent[:, draw] &= ~((of[:, :draw] == of[:, draw, None]) & silent[:, :draw]).any(axis=1)
    ranks = np.cumsum(silent, axis=1) - 1
    chosen = silent & (ranks < count)
    return Choice(latents[chosen], tokens[chosen], ranks[chosen], np.full(int(chosen.sum()), -1))


def _choose(block: LatentBlock, documents: Documents, weights: UInt64[np.ndarray, " pair"], count: int) -> Choice:
    """Per latent the `count` documents of largest weight (32 bits), each with the token that has it."""
    runs = DocumentRuns.of_block(block, documents)
    # The token rides in the low half, turned round: of equal weights the earlier token is the larger key.
    keys = (weights << np.uint64(32)) | (np.uint64(_LOW) - block.tokens.astype(np.uint64))
    if runs.order is not None:
        keys = keys[runs.order]
    best = np.maximum.reduceat(keys, runs.starts) if len(runs.starts) else keys
    order = np.lexsort((~best, runs.latents))
    latents = runs.latents[order]
    firsts = np.concatenate([[0], np.cumsum(runs.n_runs)])[:-1]
    ranks = np.arange(len(latents)) - firsts[latents]
    chosen = ranks < count
    tokens = (np.uint64(_LOW) - (best[order][chosen] & np.uint64(_LOW))).astype(np.int64)
    return Choice(latents[chosen], tokens, ranks[chosen], np.full(int(chosen.sum()), -1))
