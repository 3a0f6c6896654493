"""How good an explanation is: by it alone, a model tells texts with the latent from others, or right marks from wrong.

balanced accuracy = (share of the positive texts called + share of the negative ones not called) / 2: 0.5 is chance.
Its standard error is that of two independent binomial shares, each with one success and one failure added, which keeps
a perfect score on ten texts from being certain. Source: detection and fuzzing of Paulo et al. 2024 (arXiv 2410.13928).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.analyses.explanations.dossier import Dossier, Passage, mark


@dataclass(frozen=True)
class Trial:
    """Texts in a drawn order, with the truth of each."""

    texts: tuple[str, ...]
    truth: tuple[bool, ...]


@dataclass(frozen=True)
class Score:
    """Balanced accuracy over n texts, with its standard error."""

    value: float
    se: float
    n: int


def make_detection(dossier: Dossier, seed: int) -> Trial | None:
    """Texts with the latent among controls, unmarked; None where one of the two is lacking."""
    positive = [passage.plain for passage in dossier.scored]
    negative = [passage.plain for passage in dossier.controls]
    return _shuffle(positive, negative, [seed, dossier.latent, 0])


def make_fuzzing(dossier: Dossier, seed: int) -> Trial | None:
    """Every other text marked where the latent is on, the rest marked elsewhere, on as many tokens; None if too few."""
    generator = np.random.default_rng([seed, dossier.latent, 1])
    right, wrong = [], []
    for place, passage in enumerate(dossier.scored):
        if place % 2 == 0:
            right.append(passage.marked)
        elif (moved := _move_marks(passage, generator)) is not None:
            wrong.append(moved)
    return _shuffle(right, wrong, [seed, dossier.latent, 2])


def _move_marks(passage: Passage, generator: np.random.Generator) -> str | None:
    """The passage with as many marks on tokens on which the latent is off; None where there are too few of those."""
    off = np.flatnonzero(~np.array(passage.on))
    count = sum(passage.on)
    if len(off) < count:
        return None
    chosen = set(generator.choice(off, count, replace=False).tolist())
    return mark(passage.words, tuple(place in chosen for place in range(len(passage.words))))


def _shuffle(positive: Sequence[str], negative: Sequence[str], seed: list[int]) -> Trial | None:
    if not positive or not negative:
        return None
    texts = [*positive, *negative]
    truth = [True] * len(positive) + [False] * len(negative)
    order = np.random.default_rng(seed).permutation(len(texts))
    return Trial(tuple(texts[place] for place in order), tuple(truth[place] for place in order))


def compute_score(trial: Trial, called: set[int]) -> Score:
    """Balanced accuracy of calling these texts (numbered from 1) positive."""
    said = [number in called for number in range(1, len(trial.texts) + 1)]
    values, variances = [], []
    for wanted in (True, False):
        right = [call is wanted for call, truth in zip(said, trial.truth, strict=True) if truth is wanted]
        n, k = len(right), sum(right)
        smoothed = (k + 1) / (n + 2)
        values.append(k / n)
        variances.append(smoothed * (1 - smoothed) / n)
    return Score(sum(values) / 2, math.sqrt(sum(variances)) / 2, len(said))
