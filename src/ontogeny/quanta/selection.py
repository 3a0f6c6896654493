"""Choose the tokens to cluster: well predicted, not copied, every k-th."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.errors import AnalysisError
from ontogeny.quanta.config import TokenChoice

BITS = 1 / np.log(2)
"""Bits in a nat."""


def select_tokens(
    losses: Float[np.ndarray, " token"],
    copies: Mapping[str, Bool[np.ndarray, " marked"]],
    predicted: Int[np.ndarray, " token"],
    choice: TokenChoice,
) -> Int[np.ndarray, " chosen"]:
    """Canonical indices, ascending, of `choice.n_tokens` tokens; `copies` by name of n-gram, `predicted` token ids.

    AnalysisError if too few are left, saying how many pass each condition; if a mask belongs to another text.
    """
    for name, mask in copies.items():
        if len(mask) != len(losses):
            raise AnalysisError(
                f"the {name} filter marks {len(mask)} tokens and there are {len(losses)} losses; it was made for "
                "another corpus, so make it again from this one."
            )
    left = losses < choice.below
    counts = [f"{int(left.sum())} of {len(losses)} are below {choice.below:g} nats ({choice.below * BITS:.3g} bits)"]
    for name in choice.leave_out:
        left = left & ~copies[name]
        counts.append(f"{int(left.sum())} of these are no copied {name}")
    candidates = np.flatnonzero(left)[:: choice.every]
    counts.append(f"one in {choice.every} of these leaves {len(candidates)}")
    if len(candidates) < choice.n_tokens:
        raise AnalysisError(
            f"{choice.n_tokens} tokens were asked for: {', '.join(counts)}; lower n_tokens or every, raise below, or "
            "give more text."
        )
    if choice.by == "order":
        return candidates[: choice.n_tokens]
    return np.sort(_draw_evenly(candidates, predicted[candidates], choice.n_tokens, choice.seed))


def _draw_evenly(
    candidates: Int[np.ndarray, " candidate"], stratum: Int[np.ndarray, " candidate"], n: int, seed: int
) -> Int[np.ndarray, " chosen"]:
    """One of every stratum in turn, members in random order, until there are n."""
    shuffled = np.random.default_rng(seed).permutation(len(candidates))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    _, first, size = np.unique(stratum[order], return_index=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(first, size)
    # Within a turn the order is random too, so that the last turn favours no token id.
    tie = np.random.default_rng([seed, 1]).random(len(order))
    chosen: np.ndarray = candidates[order[np.lexsort((tie, turn))[:n]]]
    return chosen
