"""What is known of every token of the planted language."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

LABEL_DTYPES: list[tuple[str, str]] = [("rule", "<i2"), ("role", "<i1"), ("latent", "<i2"), ("bayes_nll", "<f4")]
"""Columns beside the tokens: number of the rule, `Role`, the value a model must hold, Bayes loss in nats."""


class Role(IntEnum):
    """What a token is in its episode."""

    NONE = 0
    """No planted token (padding, BOS)."""
    MARKER = 1
    """Names the rule or its kind."""
    GIVEN = 2
    """Drawn at random: cannot be predicted."""
    DETERMINED = 3
    """Follows from the rule: what a model that knows the rule predicts."""
    FILLER = 4
    """Stands between and says nothing."""
    TURN = 5
    """A speaker's word, which begins a turn of chat; its rule is that of the episode."""


def stack_labels(
    rule: Sequence[int], role: Sequence[int], latent: Sequence[int], bayes_nll: Sequence[float]
) -> dict[str, np.ndarray]:
    """The four columns as arrays [position] of the dtypes in `LABEL_DTYPES`."""
    values = (rule, role, latent, bayes_nll)
    return {name: np.asarray(value, dtype=dtype) for (name, dtype), value in zip(LABEL_DTYPES, values)}
