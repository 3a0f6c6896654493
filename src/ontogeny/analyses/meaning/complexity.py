"""A complexity from 1 to 5 without a language model in the loop.

    complexity = 1 + 4 · mean(variety, unexplained, reach)
    variety     = min(1, H / 6)          H: entropy in bits of the activation mass over tokens; 6 bits: 64 tokens alike
    unexplained = 1 − max(0, MCC)        MCC: of the better of the unigram and the bigram table, on text it has not seen
    reach       = min(1, log2(span) / log2(max_span))                 where the span was measured

A detector of one token is at 1. One theme over many words that no neighbour foretells and that needs a long context is
at 5. The ends are those of the rubric that language models are asked to score by; the parts are ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

VARIETY_BITS = 6.0


@dataclass(frozen=True)
class Complexity:
    """All [latent]; NaN where a latent has none. `parts`: how many of the three were there."""

    value: Float[np.ndarray, " latent"]
    se: Float[np.ndarray, " latent"]
    parts: Int[np.ndarray, " latent"]


def compute_complexity(
    entropy: Float[np.ndarray, " latent"],
    entropy_se: Float[np.ndarray, " latent"],
    mcc: Float[np.ndarray, " latent"],
    mcc_se: Float[np.ndarray, " latent"],
    span_log2: Float[np.ndarray, " latent"],
    span_se: Float[np.ndarray, " latent"],
    max_span: int,
) -> Complexity:
    """The score, with the parts' standard errors taken for independent; none without variety and unexplained."""
    longest = np.log2(max_span)
    parts = np.stack(
        [np.minimum(entropy / VARIETY_BITS, 1.0), 1.0 - np.maximum(mcc, 0.0), np.minimum(span_log2 / longest, 1.0)]
    )
    errors = np.stack([entropy_se / VARIETY_BITS, mcc_se, span_se / longest])
    known = ~np.isnan(parts)
    n_parts = known.sum(axis=0)
    told = known[0] & known[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, parts, 0.0).sum(axis=0) / n_parts
        # A span on one example has no error of its own; the score's is then that of the other parts.
        error = np.sqrt(np.nansum(np.where(known, errors, 0.0) ** 2, axis=0)) / n_parts
    value, error = np.where(told, 1 + 4 * mean, np.nan), np.where(told, 4 * error, np.nan)
    return Complexity(value, error, np.where(told, n_parts, 0))
