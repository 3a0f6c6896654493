"""Who says which planted rule, since when, and what is claimed of it: units in, one judgement a rule out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ontogeny.analyses.rules.matching import Units, assign_units, match_units
from ontogeny.analyses.rules.scores import find_claims
from ontogeny.analyses.rules.targets import RuleTargets


@dataclass(frozen=True)
class Matches:
    """MCC of units with rules, the best of a rule's targets: where it was chosen, and as measured. NaN: no target."""

    chosen: Float[np.ndarray, "rule unit"]
    measured: Float[np.ndarray, "rule unit"]

    @classmethod
    def of(cls, units: Units, targets: RuleTargets, n_rules: int, half: Bool[np.ndarray, " token"]) -> "Matches":
        """Match units with targets (`match_units`) and keep, for each rule and unit, the target chosen on `half`."""
        chosen, measured = match_units(units, targets.matrix, half)
        best = np.full((2, n_rules, units.n_units), np.nan)
        for rule in np.unique(targets.rule):
            mine = np.flatnonzero(targets.rule == rule)
            place = chosen[mine].argmax(axis=0)
            best[:, rule] = [table[mine][place, np.arange(units.n_units)] for table in (chosen, measured)]
        return cls(best[0], best[1])

    @classmethod
    def join(cls, parts: "Sequence[Matches]") -> "Matches":
        """The units of several dictionaries side by side."""
        return cls(
            np.concatenate([part.chosen for part in parts], axis=1),
            np.concatenate([part.measured for part in parts], axis=1),
        )

    @property
    def best(self) -> Float[np.ndarray, " rule"]:
        """What the best unit of every rule reaches, chosen on one half and measured on the other."""
        found = np.full(len(self.chosen), np.nan)
        known = np.flatnonzero(~np.isnan(self.chosen).all(axis=1))
        found[known] = self.measured[known, self.chosen[known].argmax(axis=1)]
        return found


@dataclass(frozen=True)
class Judgement:
    """For every rule: its unit (−1: none), the unit's MCC, and whether learning it is claimed."""

    unit: np.ndarray
    mcc: np.ndarray
    claimed: np.ndarray


def judge_rules(
    matches: Matches,
    rival: Float[np.ndarray, " rule"],
    inside: Bool[np.ndarray, " unit"],
    together: Bool[np.ndarray, " rule"],
) -> Judgement:
    """One unit for each of the rules `together` (no unit twice); the best unit, whoever else has it, for the others.

    The others are controls: to give them the best unit there is makes a false claim more likely, not less. `inside`:
    a unit's onset lies inside the series; one that lives in the first snapshot was not learned there.
    """
    unit = np.full(len(matches.chosen), -1)
    unit[together] = assign_units(matches.chosen[together])
    for rule in np.flatnonzero(~together & ~np.isnan(matches.chosen).all(axis=1)):
        unit[rule] = matches.chosen[rule].argmax()
    mcc = np.where(unit >= 0, matches.measured[np.arange(len(unit)), unit], np.nan)
    return Judgement(unit, mcc, find_claims(mcc, rival, (unit >= 0) & inside[unit]))


def rivals(
    tokens: np.ndarray, position: np.ndarray, targets: RuleTargets, n_rules: int, half: Bool[np.ndarray, " token"]
) -> Float[np.ndarray, " rule"]:
    """The MCC of the best predictor of each rule that needs no model: the token read, or its position."""
    parts = [Matches.of(Units.from_labels(labels), targets, n_rules, half).best for labels in (tokens, position)]
    return np.fmax(*parts)
