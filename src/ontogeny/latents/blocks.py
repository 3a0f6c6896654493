"""Some latents with all their tokens: what per-latent questions are asked of, block after block, in bounded memory."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64


@dataclass(frozen=True)
class LatentBlock:
    """The pairs of neighbouring latents, in order of latent, then of token.

    Latent `first + i` has the pairs `pointer[i]:pointer[i + 1]`; `tokens` [pair] are tokens of the pass, `values`
    [pair] the ungated codes. `norms` [latent source] are the decoder norms of these latents; `gate_per` and `cut`
    describe the gate per source (None: one gate for all sources).
    """

    first: int
    pointer: Int[np.ndarray, " latent_plus_1"]
    tokens: Int[np.ndarray, " pair"]
    values: Float[np.ndarray, " pair"]
    norms: Float[np.ndarray, "latent source"]
    gate_per: Literal["latent", "source", "token"] | None = None
    cut: Float[np.ndarray, "..."] | None = None

    @property
    def n_latents(self) -> int:
        """Latents in the block."""
        return len(self.pointer) - 1

    @property
    def n_sources(self) -> int:
        """Sources that the dictionary writes."""
        return int(self.norms.shape[1])

    @property
    def counts(self) -> Int[np.ndarray, " latent"]:
        """Pairs of each latent."""
        return np.diff(self.pointer)

    @cached_property
    def latents(self) -> Int[np.ndarray, " pair"]:
        """The latent of every pair, counted from the block's first."""
        return np.repeat(np.arange(self.n_latents), self.counts)

    def gate(self, source: int) -> Bool[np.ndarray, " pair"]:
        """Where the codes are on in a source: value · norm > cut, as the dictionary itself decides it."""
        return self.gate_at(source, self.latents, self.tokens, self.values)

    def gate_at(
        self,
        source: int,
        latents: Int[np.ndarray, "*shape"],
        tokens: Int[np.ndarray, "*shape"],
        values: Float[np.ndarray, "*shape"],
    ) -> Bool[np.ndarray, "*shape"]:
        """The same for values of latents (counted from the block's first) on tokens of the pass."""
        if self.gate_per is None or self.cut is None:
            return values > 0
        score = values * self.norms[latents, source]
        if self.gate_per == "latent":
            return np.asarray(score > self.cut[latents])
        return np.asarray(score > (self.cut[source] if self.gate_per == "source" else self.cut[tokens, source]))

    @cached_property
    def _sorted_keys(self) -> UInt64[np.ndarray, " pair"]:
        """The pairs' latents and values in one number each, ascending."""
        return np.sort(_keys(self.latents, self.values))

    @cached_property
    def sorted_values(self) -> Float[np.ndarray, " pair"]:
        """The values of each latent in ascending order, latent after latent."""
        return (self._sorted_keys & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)

    def quantile(self, q: float) -> Float[np.ndarray, " latent"]:
        """The quantile of each latent's values, interpolating linearly as numpy does; NaN where there is none."""
        counts = self.counts
        found = np.full(self.n_latents, np.nan)
        filled = counts > 0
        place = q * (counts[filled] - 1)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, counts[filled] - 1)
        start = self.pointer[:-1][filled]
        below, above = (self.sorted_values[start + each].astype(np.float64) for each in (low, high))
        found[filled] = below + (above - below) * (place - low)
        return found

    def rank_shares(
        self, latents: Int[np.ndarray, " chosen"], values: Float[np.ndarray, " chosen"]
    ) -> Float[np.ndarray, " chosen"]:
        """The share of a latent's values that are no larger than the one given."""
        below = np.searchsorted(self._sorted_keys, _keys(latents, values), side="right") - self.pointer[latents]
        return below / self.counts[latents]

    def keep(self, mask: Bool[np.ndarray, " pair"]) -> "LatentBlock":
        """The block of the pairs where `mask` holds."""
        counts = np.bincount(self.latents[mask], minlength=self.n_latents)
        pointer = np.concatenate([[0], np.cumsum(counts)])
        return LatentBlock(
            self.first, pointer, self.tokens[mask], self.values[mask], self.norms, self.gate_per, self.cut
        )


def _keys(latents: Int[np.ndarray, " pair"], values: Float[np.ndarray, " pair"]) -> UInt64[np.ndarray, " pair"]:
    """Numbers that sort by latent, then by value: positive floats sort like their bits, and one number of 64 bits sorts
    several times faster than two keys.
    """
    assert len(values) == 0 or float(values.min()) >= 0, "a code below 0 is not active"
    return (latents.astype(np.uint64) << np.uint64(32)) | np.ascontiguousarray(values).view(np.uint32)
