"""Which tokens are shown of the latents of a block, list by list."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ontogeny.analyses.examples.config import ExamplesConfig
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import Documents
from ontogeny.latents.sampling import (
    Choice,
    choose_controls,
    choose_from_bins,
    choose_strongest,
    level_bins,
    quantile_bins,
)

KINDS = ("top", "bin", "level", "control")


@dataclass(frozen=True)
class Chosen:
    """Chosen tokens of a block, by latent, kind (place in `KINDS`), bin (-1: none) and rank."""

    latents: Int[np.ndarray, " chosen"]
    kinds: Int[np.ndarray, " chosen"]
    bins: Int[np.ndarray, " chosen"]
    ranks: Int[np.ndarray, " chosen"]
    tokens: Int[np.ndarray, " chosen"]


def choose_examples(block: LatentBlock, documents: Documents, config: ExamplesConfig) -> Chosen:
    """The strongest tokens, some of every bin of the range (by quantile and by level), and controls."""
    lists = {"top": choose_strongest(block, documents, config.top)}
    if config.bins:
        bins = quantile_bins(block, config.bins)
        lists["bin"] = choose_from_bins(block, documents, bins, config.bins, config.per_bin, config.seed)
    if config.levels:
        levels = level_bins(block, config.levels)
        lists["level"] = choose_from_bins(block, documents, levels, config.levels, config.per_level, config.seed + 1)
    if config.controls:
        controls = choose_controls(block, documents, config.controls, config.before, config.after, config.seed)
        lists["control"] = controls
    joined = Choice.concatenate(list(lists.values()))
    kinds = np.repeat([KINDS.index(kind) for kind in lists], [len(choice.tokens) for choice in lists.values()])
    order = np.lexsort((joined.ranks, joined.bins, kinds, joined.latents))
    columns = (joined.latents, kinds, joined.bins, joined.ranks, joined.tokens)
    return Chosen(*(column[order] for column in columns))
