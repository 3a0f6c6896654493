"""The tokens whose losses are differentiated, as rows: contexts, targets, and batches of like length."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ontogeny.quanta.documents import Documents

ROWS_AT_A_TIME = 64
"""Samples of one forward at most: each has a row of logits."""


class Samples:
    """Sets of tokens, by canonical index, one set after the other; within a set the longest context first.

    A context ends before the predicted token: what comes later has no gradient. No batch holds tokens of two sets.
    """

    def __init__(self, documents: Documents, sets: Sequence[np.ndarray], batch_tokens: int) -> None:
        self.sets: list[slice] = []
        self.batches: list[slice] = []
        order, start = [], 0
        for tokens in sets:
            place = documents.locate(tokens)[1]
            order.append(start + np.argsort(-place, kind="stable"))
            self.sets.append(slice(start, start + len(tokens)))
            start += len(tokens)
        self.order: Int[np.ndarray, " sample"] = np.concatenate(order)
        """Which of the tokens that were given, sets end to end, a row is."""
        tokens = np.concatenate(list(sets))[self.order]
        document, place = documents.locate(tokens)
        self.lengths = torch.from_numpy(place)
        self.targets = torch.from_numpy(documents.predicted(tokens))
        first = documents.offsets[document]
        self.contexts = [documents.tokens[at : at + size] for at, size in zip(first, place)]
        for each in self.sets:
            self._add_batches(each, batch_tokens)

    def __len__(self) -> int:
        return len(self.lengths)

    def _add_batches(self, rows: slice, batch_tokens: int) -> None:
        start = rows.start
        while start < rows.stop:
            size = min(ROWS_AT_A_TIME, max(1, batch_tokens // int(self.lengths[start])))
            self.batches.append(slice(start, min(rows.stop, start + size)))
            start = self.batches[-1].stop

    def real(self, rows: slice) -> Tensor:
        """Which cells of a padded batch are positions, bool [sample position]."""
        lengths = self.lengths[rows]
        return torch.arange(int(lengths.max())) < lengths[:, None]

    def ids(self, rows: slice) -> Int[Tensor, "sample position"]:
        """Contexts, padded at their ends with an id of the text: a tokenizer's padding id makes models warn."""
        real = self.real(rows)
        ids = torch.full(real.shape, int(self.contexts[rows.start][0]))
        ids[real] = torch.from_numpy(np.concatenate(self.contexts[rows]))
        return ids

    def given(self, rows: slice) -> Int[Tensor, " token"]:
        """For the tokens of a set, in the order in which they were given, their places among `rows`."""
        return torch.from_numpy(np.argsort(self.order[rows]))
