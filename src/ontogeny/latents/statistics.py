"""Statistics of latents over a pass, block after block of them: how often, how strongly, on which kinds of tokens.

Everything is exact: counts and sums in float64, quantiles from all values sorted. Errors are clustered by document.
What a latent that never fires cannot tell is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import DocumentRuns, Documents
from ontogeny.latents.token_groups import GroupsOfPass


@dataclass(frozen=True)
class Strengths:
    """How often and how strongly each latent of a block is on; `mean` and all after it are over its active tokens."""

    n_active: Int[np.ndarray, " latent"]
    density: Float[np.ndarray, " latent"]
    density_se: Float[np.ndarray, " latent"]
    mean: Float[np.ndarray, " latent"]
    mean_se: Float[np.ndarray, " latent"]
    largest: Float[np.ndarray, " latent"]
    quantiles: Float[np.ndarray, "quantile latent"]

    def times(self, factor: Float[np.ndarray, " latent"]) -> "Strengths":
        """The same of values times one positive factor a latent."""
        scaled = (each * factor for each in (self.mean, self.mean_se, self.largest, self.quantiles))
        return Strengths(self.n_active, self.density, self.density_se, *scaled)


@dataclass(frozen=True)
class GroupShares:
    """How the active tokens of each latent fall on groups of tokens; n_tokens [group], all else [latent group].

    density: active tokens of the group / its tokens. share: active tokens of the group / active tokens.
    """

    n_tokens: Int[np.ndarray, " group"]
    n_active: Int[np.ndarray, "latent group"]
    density: Float[np.ndarray, "latent group"]
    density_se: Float[np.ndarray, "latent group"]
    share: Float[np.ndarray, "latent group"]
    share_se: Float[np.ndarray, "latent group"]


def compute_strengths(block: LatentBlock, documents: Documents, quantiles: Sequence[float]) -> Strengths:
    """Counts, density, mean, maximum and quantiles of the codes of a block (ungated, any source)."""
    runs = DocumentRuns.of_block(block, documents)
    counts, sums = runs.sums(np.ones(len(block.values))), runs.sums(block.values)
    density, density_se = runs.share_of_tokens(counts, documents.n_tokens)
    mean, mean_se = runs.ratio(sums, counts)
    found = np.stack([block.quantile(q) for q in (*quantiles, 1.0)])
    return Strengths(block.counts, density, density_se, mean, mean_se, found[-1], found[:-1])


def compute_source_strengths(
    block: LatentBlock, documents: Documents, quantiles: Sequence[float], shared: Strengths
) -> list[Strengths]:
    """Per source the same of contributions value · ‖W_dec[j, s]‖, over the tokens where its own gate is on.

    `shared` is `compute_strengths` of the block: with one gate for all sources a source only scales it.
    """
    strengths = []
    for source in range(block.n_sources):
        norms = block.norms[:, source].astype(np.float64)
        here = shared
        if block.gate_per is not None:
            here = compute_strengths(block.keep(block.gate(source)), documents, quantiles)
        strengths.append(here.times(norms))
    return strengths


def compute_group_shares(
    block: LatentBlock, documents: Documents, groups: GroupsOfPass, sizes: Int[np.ndarray, "group document"]
) -> GroupShares:
    """Counts, densities and shares of the active tokens of a block by group; `sizes` are `groups.sizes(documents)`."""
    runs = DocumentRuns.of_block(block, documents)
    counts = runs.sums(np.ones(len(block.values)))
    bits = groups.bits[block.tokens]
    columns = []
    for bit, size in enumerate(sizes):
        inside = runs.sums((bits >> bit) & 1)
        share, share_se = runs.ratio(inside, counts)
        # All or nothing has no spread within the sample, which is no proof that there is none.
        share_se = np.where((share > 0) & (share < 1), share_se, np.nan)
        columns.append((runs.by_latent(inside), *runs.share_of_tokens(inside, size), share, share_se))
    n_active, density, density_se, share, share_se = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    return GroupShares(sizes.sum(axis=1), n_active.astype(np.int64), density, density_se, share, share_se)


def compute_histogram(
    block: LatentBlock, n_bins: int
) -> tuple[Int[np.ndarray, "latent bin"], Float[np.ndarray, "latent bin_plus_1"]]:
    """How many of a latent's active tokens fall in each of `n_bins` equal bins from 0 to its largest; the edges."""
    largest = np.zeros(block.n_latents)
    filled = block.counts > 0
    if filled.any():
        largest[filled] = np.maximum.reduceat(block.values, block.pointer[:-1][filled])
    place = np.minimum(block.values / largest[block.latents] * n_bins, n_bins - 1).astype(np.int64)
    counts = np.bincount(block.latents * n_bins + place, minlength=block.n_latents * n_bins).reshape(-1, n_bins)
    return counts, largest[:, None] * (np.arange(n_bins + 1) / n_bins)
