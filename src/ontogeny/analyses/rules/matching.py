"""How well single units (latents, neurons, tokens) say which tokens belong to a target: MCC, and who is whose.

A unit says yes where its value reaches a threshold. Threshold and sign are chosen on one half of the tokens, the MCC is
measured on the other, so that many units and thresholds do not make a match out of noise.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

LEVELS = np.unique(np.concatenate([np.arange(0, 1, 1 / 16), 1 - 0.5 ** np.arange(4, 12), 0.5 ** np.arange(5, 12)]))
"""Quantiles of a unit's values that are tried as thresholds; close together in the tails, where rare targets lie."""


@dataclass(frozen=True)
class Units:
    """Values of units on tokens, as pairs; where there is no pair a unit is silent (below every threshold).

    `unit`, `token`, `value` are [pair]; `signed`: small values may mean yes as well (neurons, components).
    """

    unit: np.ndarray
    token: np.ndarray
    value: np.ndarray
    n_units: int
    n_tokens: int
    signed: bool = False

    @classmethod
    def from_dense(cls, values: Float[np.ndarray, "token unit"], signed: bool = True) -> "Units":
        """Every unit has a value on every token."""
        n_tokens, n_units = values.shape
        unit, token = np.divmod(np.arange(values.size), n_tokens)
        return cls(unit, token, np.ascontiguousarray(values.T).ravel(), n_units, n_tokens, signed)

    @classmethod
    def from_labels(cls, labels: Int[np.ndarray, "token"]) -> "Units":
        """One unit for each label ≥ 0, that says yes on the tokens of this label: a predictor that needs no model."""
        token = np.flatnonzero(labels >= 0)
        unit = labels[token].astype(np.int64)
        return cls(unit, token, np.ones(len(token)), int(unit.max(initial=-1)) + 1, len(labels))

    def bins(self, chosen: Bool[np.ndarray, "token"]) -> Int[np.ndarray, "pair"]:
        """How many of its unit's thresholds each pair reaches, less one; thresholds are quantiles over `chosen`."""
        found = np.full(len(self.unit), -1)
        order = np.argsort(self.unit, kind="stable")
        bounds = np.searchsorted(self.unit[order], np.arange(self.n_units + 1))
        for first, last in itertools.pairwise(bounds):
            pairs = order[first:last]
            known = self.value[pairs[chosen[self.token[pairs]]]]
            if len(known):
                thresholds = np.quantile(known, LEVELS, method="higher")
                found[pairs] = np.searchsorted(thresholds, self.value[pairs], side="right") - 1
        return found


def compute_mcc(
    true_positive: Float[np.ndarray, "*any"],
    predicted: Float[np.ndarray, "*any"],
    positive: float,
    n_tokens: int,
) -> Float[np.ndarray, "*any"]:
    """Matthews correlation (tp·n − predicted·positive) / √(predicted (n − predicted) positive (n − positive)).

    Counts of tokens; 0 where a margin is empty. Source: Matthews 1975, in the form of Pearson's φ.
    """
    spread = predicted * (n_tokens - predicted) * positive * (n_tokens - positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (true_positive * n_tokens - predicted * positive) / np.sqrt(spread)
    return np.where(spread > 0, found, 0.0)


def match_units(
    units: Units, targets: Bool[np.ndarray, "target token"], half: Bool[np.ndarray, "token"]
) -> tuple[Float[np.ndarray, "target unit"], Float[np.ndarray, "target unit"]]:
    """MCC of every unit with every target: on the tokens of `half`, where thresholds are chosen, and on the others.

    Only the second is a measurement. Split tokens so that what belongs together (a document) stays together.
    """
    counts = _Counts.of(units, units.bins(half))
    sides = (half, ~half)
    reached = [counts.over(side) for side in sides]
    chosen, measured = np.zeros((2, len(targets), units.n_units))
    rows = np.arange(units.n_units)
    for number, target in enumerate(targets):
        scores = [
            compute_mcc(counts.over(target & side), total, float((target & side).sum()), int(side.sum()))
            for side, total in zip(sides, reached, strict=True)
        ]
        best = (np.abs(scores[0]) if units.signed else scores[0]).argmax(axis=1)
        sign = np.sign(scores[0][rows, best]) if units.signed else 1.0
        chosen[number] = sign * scores[0][rows, best]
        measured[number] = sign * scores[1][rows, best]
    return chosen, measured


@dataclass(frozen=True)
class _Counts:
    """Pairs in order of their tokens, so that those of a few tokens are found without going through all."""

    cell: np.ndarray
    pointer: np.ndarray
    n_units: int

    @classmethod
    def of(cls, units: Units, bins: Int[np.ndarray, "pair"]) -> "_Counts":
        kept = np.flatnonzero(bins >= 0)
        order = kept[np.argsort(units.token[kept], kind="stable")]
        pointer = np.searchsorted(units.token[order], np.arange(units.n_tokens + 1))
        return cls(units.unit[order] * len(LEVELS) + bins[order], pointer, units.n_units)

    def over(self, tokens: Bool[np.ndarray, "token"]) -> Float[np.ndarray, "unit threshold"]:
        """On how many of the tokens each unit reaches each of its thresholds."""
        start, size = self.pointer[:-1][tokens], np.diff(self.pointer)[tokens]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        cells = self.cell[np.repeat(start, size) + within]
        counts = np.bincount(cells, minlength=self.n_units * len(LEVELS)).reshape(self.n_units, len(LEVELS))
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)


def assign_units(scores: Float[np.ndarray, "rule unit"]) -> Int[np.ndarray, "rule"]:
    """One unit for each rule and no unit twice, so that the sum of scores is largest (Hungarian); −1: none is left."""
    found = np.full(len(scores), -1)
    rows, columns = linear_sum_assignment(scores, maximize=True)
    found[rows] = columns
    return found
