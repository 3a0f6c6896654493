"""Which tokens are reported on apart: all of them, each text source, each mask, the beginnings of answers."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ontogeny.tokens.corpus import Corpus

ALL = "all"


@dataclass(frozen=True)
class TokenGroups:
    """Named groups of tokens; they may overlap. Without a corpus there is only "all"."""

    corpus: Corpus | None

    @property
    def text_sources(self) -> tuple[str, ...]:
        """Groups by text source, one a name in the corpus."""
        return self.corpus.text_sources if self.corpus is not None else ()

    @property
    def masks(self) -> tuple[str, ...]:
        """Groups by mask: every mask that holds some kept token."""
        if self.corpus is None:
            return ()
        keep = np.asarray(self.corpus.keep)
        return tuple(name for name, mask in self.corpus.masks.items() if bool((np.asarray(mask) & keep).any()))

    @property
    def names(self) -> tuple[str, ...]:
        """Every group, "all" first; text sources and masks carry a prefix, since they may share a name."""
        return (ALL, *(f"text/{name}" for name in self.text_sources), *(f"mask/{name}" for name in self.masks))

    def members(
        self, row: Int[np.ndarray, "token"], position: Int[np.ndarray, "token"]
    ) -> Bool[np.ndarray, "group token"]:
        """Which of the tokens at (row, position) belong to which group."""
        everyone = np.ones(len(row), dtype=bool)
        if self.corpus is None:
            return everyone[None]
        text_source = np.asarray(self.corpus.text_source[row, position])
        by_text = [text_source == index for index in range(len(self.text_sources))]
        by_mask = [np.asarray(self.corpus.masks[name][row, position]) for name in self.masks]
        return np.stack([everyone, *by_text, *by_mask])


def predicted_groups(
    corpus: Corpus, row: Int[np.ndarray, " token"], position: Int[np.ndarray, " token"], first_tokens: int
) -> list[tuple[str, Bool[np.ndarray, " token"]]]:
    """Groups of the tokens that are predicted at (row, position): all, text sources, masks, beginnings of answers.

    `answer/first K`: the first K assistant tokens of every answer; `answer/rest`: the later ones.
    """
    following = position + 1
    groups = TokenGroups(corpus)
    members = list(zip(groups.names, groups.members(row, following), strict=True))
    if "assistant" in groups.masks:
        answer = np.asarray(corpus.masks["assistant"][row, following])
        early = place_in_run(corpus, row, following) < first_tokens
        members.append((f"answer/first {first_tokens}", answer & early))
        members.append(("answer/rest", answer & ~early))
    return members


def place_in_run(
    corpus: Corpus, row: Int[np.ndarray, " token"], position: Int[np.ndarray, " token"]
) -> Int[np.ndarray, " token"]:
    """How many assistant tokens stand directly before the place, in its row."""
    rows, inverse = np.unique(row, return_inverse=True)
    mask = np.asarray(corpus.masks["assistant"][rows])
    places = np.arange(mask.shape[1])
    last_other = np.maximum.accumulate(np.where(mask, -1, places), axis=1)
    return position - last_other[inverse, position] - 1
