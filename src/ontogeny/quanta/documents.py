"""Documents end to end, cut, and the canonical index of their predicted tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from ontogeny.errors import AnalysisError
from ontogeny.tokens.corpus import Corpus, Split, fingerprint_of

MAX_LENGTH = 1024
"""Tokens that a document is cut to, as published."""


@dataclass(frozen=True)
class Documents:
    """Tokens of all documents end to end: document d holds `tokens[offsets[d]:offsets[d + 1]]`, without BOS.

    The canonical index counts tokens that have a predecessor in their own cut document, documents in order:
    `starts[d]` is that of document d's second token. Source: quanta-discovery, create_pile_canonical.
    """

    tokens: Int[np.ndarray, " cell"]
    offsets: Int[np.ndarray, " document_plus_1"]

    @classmethod
    def of(cls, documents: Iterable[np.ndarray], max_length: int = MAX_LENGTH) -> "Documents":
        """Cut every document, token ids [position], to its first `max_length` tokens."""
        cut = [np.asarray(each[:max_length], dtype=np.int64) for each in documents]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in cut], dtype=np.int64)])
        return cls(np.concatenate([np.zeros(0, np.int64), *cut]), offsets)

    @classmethod
    def of_corpus(
        cls, corpus: Corpus, max_length: int = MAX_LENGTH, split: Split = "all", max_documents: int | None = None
    ) -> "Documents":
        """A corpus's documents, put together again from its rows; BOS and padding left out.

        Documents keep the corpus's numbers: those of another split, and those after the first `max_documents` of this
        one, are empty. AnalysisError if a document has a gap in the corpus (its later tokens would be predicted without
        what was there), or if no document of this split has two tokens.
        """
        rows = corpus.rows(split)
        document, position = np.asarray(corpus.document[rows]), np.asarray(corpus.position[rows])
        real = (document >= 0) & (position >= 0) & (position < max_length)
        if max_documents is not None:
            real &= np.isin(document, np.unique(document[real])[:max_documents])
        number, place, tokens = document[real], position[real], np.asarray(corpus.tokens[rows])[real]
        order = np.lexsort((place, number))
        number, place = number[order], place[order]
        lengths = np.bincount(number, minlength=corpus.n_documents)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        broken = np.flatnonzero(place != np.arange(len(place)) - offsets[number])
        if len(broken):
            raise AnalysisError(
                f"document {number[broken[0]]} of the corpus has a gap before its token {place[broken[0]]}; build the "
                "corpus without dropping parts of documents."
            )
        if not (lengths >= 2).any():
            raise AnalysisError(
                f"no document of the split {split!r} has two tokens, so that none is predicted; set losses.split, "
                "corpus.held_out or give more text."
            )
        return cls(tokens[order].astype(np.int64), offsets)

    def part(self, first: int, last: int) -> "Documents":
        """Documents `first` … `last` − 1 alone, numbered from 0."""
        offsets = self.offsets[first : last + 1]
        return Documents(self.tokens[offsets[0] : offsets[-1]], offsets - offsets[0])

    def replace(self, tokens: Mapping[int, int]) -> "Documents":
        """With some token ids in place of others."""
        replaced = self.tokens.copy()
        for token, other in tokens.items():
            replaced[self.tokens == token] = other
        return Documents(replaced, self.offsets)

    def read_by(self, corpus: Corpus, label: str) -> "Documents":
        """As the snapshot of this label must read them: where it lacks a template token, with what the corpus names."""
        replaced = corpus.replacements.get(label)
        return self.replace(replaced) if replaced else self

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all tokens and where documents end."""
        return fingerprint_of(self.tokens, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Int[np.ndarray, " document"]:
        """Tokens of every document."""
        return np.asarray(np.diff(self.offsets))

    @cached_property
    def starts(self) -> Int[np.ndarray, " document_plus_1"]:
        """Canonical index of every document's first predicted token; last, how many there are."""
        return np.concatenate([[0], np.cumsum(np.maximum(self.lengths - 1, 0))])

    @property
    def n_predicted(self) -> int:
        """Predicted tokens of all documents."""
        return int(self.starts[-1])

    def document(self, number: int) -> Int[np.ndarray, " position"]:
        """The tokens of one document."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]

    def locate(self, index: Int[np.ndarray, " token"]) -> tuple[Int[np.ndarray, " token"], Int[np.ndarray, " token"]]:
        """(document, position of the predicted token in it, from 1) of canonical indices."""
        assert len(index) == 0 or (index.min() >= 0 and index.max() < self.n_predicted), "no such canonical index"
        document = np.searchsorted(self.starts, index, side="right") - 1
        return document, index - self.starts[document] + 1

    def predicted(self, index: Int[np.ndarray, " token"]) -> Int[np.ndarray, " token"]:
        """Token ids at canonical indices."""
        document, position = self.locate(index)
        return self.tokens[self.offsets[document] + position]
