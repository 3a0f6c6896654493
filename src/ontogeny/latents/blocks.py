"""Some latents with all their tokens: what per-latent questions are asked of, block after block, in bounded memory."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int


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
        if self.gate_per is None or self.cut is None:
            return np.ones(len(self.values), dtype=bool)
        score = self.values * self.norms[self.latents, source]
        if self.gate_per == "latent":
            return np.asarray(score > self.cut[self.latents])
        return np.asarray(score > (self.cut[source] if self.gate_per == "source" else self.cut[self.tokens, source]))

    def keep(self, mask: Bool[np.ndarray, " pair"]) -> "LatentBlock":
        """The block of the pairs where `mask` holds."""
        counts = np.bincount(self.latents[mask], minlength=self.n_latents)
        pointer = np.concatenate([[0], np.cumsum(counts)])
        return LatentBlock(
            self.first, pointer, self.tokens[mask], self.values[mask], self.norms, self.gate_per, self.cut
        )
