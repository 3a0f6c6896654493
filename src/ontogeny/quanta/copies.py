"""Tokens that copying inside the document predicts: n-grams that occurred before in it."""

import numpy as np
from jaxtyping import Bool

from ontogeny.quanta.documents import Documents

COPIES: dict[str, int] = {"unigram": 1, "bigram": 2, "trigram": 3}


def mark_copies(documents: Documents, n: int) -> Bool[np.ndarray, " token"]:
    """Whether the n tokens that end with the predicted one occurred earlier in its own cut document, in this order.

    By canonical index; the first n − 1 tokens of a document end no n-gram.
    Source: quanta-discovery, evaluate_pile_present_{bigram,trigram}_filter.
    """
    assert n >= 1, f"n = {n}"
    marked = np.zeros(documents.n_predicted, dtype=bool)
    for number in np.flatnonzero(documents.lengths >= max(2, n)).tolist():
        tokens = documents.document(number)
        windows = np.lib.stride_tricks.sliding_window_view(tokens, n)
        # One number an n-gram, by ranks: no product of vocabulary sizes that could overflow.
        kind = np.zeros(len(windows), dtype=np.int64)
        for column in windows.T:
            _, kind = np.unique(kind * (tokens.max() + 1) + column, return_inverse=True)
        _, first = np.unique(kind, return_index=True)
        again = np.ones(len(tokens), dtype=bool)
        again[: n - 1] = False
        again[first + n - 1] = False
        marked[documents.starts[number] : documents.starts[number + 1]] = again[1:]
    return marked
