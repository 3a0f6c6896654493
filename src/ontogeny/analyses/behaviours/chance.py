"""Whether pairs are answered better than by chance: what hangs together must not pass for evidence. Pure numpy."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ontogeny.latents.clusters import draw_weights, percentile_interval, renumber, sum_clusters
from ontogeny.tokens.pairs import PairTokens


def group_pairs(pairs: PairTokens) -> list[Int[np.ndarray, "pair"]]:
    """All that pairs may hang together by: their cluster, their prefix's last token, their two answers.

    An untrained model's answer follows the last token that it read and the answers that it is asked for: pairs that
    share one are answered alike, whatever noun they are about.
    """
    last = pairs.clean[np.arange(len(pairs)), pairs.length - 1]
    both = np.sort(np.stack([pairs.right, pairs.wrong], axis=1), axis=1)
    answers = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    return [pairs.cluster, last.astype(np.int64), answers.astype(np.int64)]


def is_above_chance(
    right: Float[np.ndarray, "pair"],
    blind: Float[np.ndarray, "pair"],
    groupings: Sequence[Int[np.ndarray, "pair"]],
    *,
    draws: int,
    seed: int,
    min_clusters: int,
) -> bool | None:
    """Whether the accuracy is above 1/2, and above what the answers get after other prefixes, by every grouping.

    `right`: 1 where the right answer is likelier, 1/2 for a tie; `blind`: the same, averaged over other clusters'
    prefixes, NaN where there is no such thing. The lower ends of the 95 % bootstrap intervals of mean(right) and of
    mean(right - blind) must lie above 1/2 and 0, drawn by clusters (the first grouping) and by each other grouping that
    has several groups. None where there are fewer than `min_clusters` clusters: too few to say.
    """
    if len(np.unique(groupings[0])) < min_clusters:
        return None
    beyond = right - blind if not np.isnan(blind).any() else None
    for grouping in groupings:
        groups, n_groups = renumber(grouping)
        if n_groups < 2:
            continue
        weights = draw_weights(n_groups, draws, seed)
        for values, chance in ((right, 0.5), (beyond, 0.0)):
            if values is None:
                continue
            low, _ = percentile_interval(sum_clusters(values, groups, n_groups).bootstrap(weights))
            if not low > chance:
                return False
    return True
