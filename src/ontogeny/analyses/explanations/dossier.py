"""What a language model gets to see of a latent: texts with its tokens marked, and others without it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.explanations.config import ExplanationsConfig
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import Documents
from ontogeny.latents.sampling import choose_controls, choose_from_bins, choose_strongest, level_bins
from ontogeny.latents.windows import PassPlaces, Windows

LEVELS = 4
OPEN, CLOSE = "⟦", "⟧"
"""Marks that text has no use for: << and >> are common in programs."""


@dataclass(frozen=True)
class Passage:
    """A stretch of text as words of tokens, with the tokens on which the latent is on (none: a control)."""

    words: tuple[str, ...]
    on: tuple[bool, ...]

    @property
    def active(self) -> bool:
        """Whether the latent is on anywhere in it."""
        return any(self.on)

    @property
    def plain(self) -> str:
        """The text."""
        return "".join(self.words)

    @property
    def marked(self) -> str:
        """The text with what the latent is on between ⟦ and ⟧."""
        return mark(self.words, self.on)


@dataclass(frozen=True)
class Dossier:
    """A latent's passages: those shown to explain it, those to score by (other documents), and controls."""

    latent: int
    shown: tuple[Passage, ...]
    scored: tuple[Passage, ...]
    controls: tuple[Passage, ...]


def mark(words: tuple[str, ...], on: tuple[bool, ...]) -> str:
    """Text with runs of marked words between ⟦ and ⟧."""
    parts, inside = [], False
    for word, wanted in zip(words, on, strict=True):
        if wanted != inside:
            parts.append(OPEN if wanted else CLOSE)
            inside = wanted
        parts.append(word)
    return "".join(parts) + (CLOSE if inside else "")


def compile_dossier(
    block: LatentBlock,
    documents: Documents,
    places: PassPlaces,
    decode: Callable[[int], str],
    config: ExplanationsConfig,
) -> Dossier:
    """The dossier of a block of one latent; the lists are drawn by seed as the examples of every latent are.

    Shown: half the strongest tokens, half from all levels between 0 and the largest code. Scored: from all levels too,
    and from documents of which nothing is shown.
    """
    assert block.n_latents == 1, "a dossier is one latent's"
    # A latent that few documents know shares them out between the two lists.
    known = len(np.unique(documents.of[block.tokens]))
    n_shown = min(config.shown, max(known * config.shown // (config.shown + config.scored), 1))
    per_level = -(-max(config.shown, config.scored) // LEVELS) + config.shown
    strongest = choose_strongest(block, documents, -(-n_shown // 2)).tokens
    levels = choose_from_bins(block, documents, level_bins(block, LEVELS), LEVELS, per_level, config.seed)
    # Level by level and turn by turn, so that whatever is taken first covers the whole range.
    ranged = levels.tokens[np.lexsort((levels.bins, levels.ranks))]
    shown = _one_a_document(np.concatenate([strongest, ranged]), documents, np.zeros(0, np.int64), n_shown)
    scored = _one_a_document(ranged, documents, documents.of[shown], config.scored)
    controls = choose_controls(block, documents, len(scored) or 1, config.before, config.after, config.seed).tokens

    def passages(tokens: Int[np.ndarray, " window"]) -> tuple[Passage, ...]:
        windows = places.windows(tokens, config.before, config.after)
        codes = windows.codes(block, np.zeros(len(tokens), dtype=np.int64))
        return _read(windows, codes, config.mark_share * float(block.values.max()), decode)

    return Dossier(block.first, passages(shown), passages(scored), passages(controls))


def _one_a_document(
    tokens: Int[np.ndarray, " token"], documents: Documents, taken: Int[np.ndarray, " document"], count: int
) -> Int[np.ndarray, " chosen"]:
    """The first tokens in order, one a document, none from a document that is taken."""
    free = tokens[~np.isin(documents.of[tokens], taken)]
    _, first = np.unique(documents.of[free], return_index=True)
    chosen: np.ndarray = free[np.sort(first)[:count]]
    return chosen


def _read(
    windows: Windows, codes: Float[np.ndarray, "window place"], level: float, decode: Callable[[int], str]
) -> tuple[Passage, ...]:
    """Windows as passages; the token for which a window was chosen is marked however weak the latent is on it."""
    chosen = (windows.places == windows.marked[:, None]) & (codes > 0)
    on = (codes >= level) | chosen
    return tuple(
        Passage(
            tuple(decode(int(token)) for token in windows.ids[place][inside]),
            tuple(bool(each) for each in on[place][inside]),
        )
        for place, inside in enumerate(windows.inside)
    )
