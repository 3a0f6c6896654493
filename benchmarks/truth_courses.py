"""What the life of a unit says of its rule: since when it is there, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.truth_baselines import Contender
from benchmarks.truth_setting import Setting
from ontogeny.latents.predictions import Predictions
from ontogeny.latents.trajectories import CLASSES, DEFAULT_THRESHOLDS, LifeThresholds, Lives, compute_lives
from ontogeny.tokens.rules.plan import Fate

FATES = (Fate.PERSISTS, Fate.EMERGES, Fate.VANISHES, Fate.REPURPOSED)
KEPT = 0.5
"""A unit is re-purposed if less than this share of what was predicted where it fires is predicted at the end."""


@dataclass(frozen=True)
class Courses:
    """Of every unit: when it rises (octaves, NaN: never), whether its onset lies inside the series, its fate.

    All of it is read off `strength` [unit snapshot] along `time`, by `thresholds`.
    """

    half_rise: np.ndarray
    inside: np.ndarray
    fate: list[str]
    strength: np.ndarray
    time: np.ndarray
    thresholds: LifeThresholds

    @classmethod
    def join(cls, parts: "Sequence[Courses]") -> "Courses":
        """The units of several dictionaries side by side."""
        return cls(
            np.concatenate([part.half_rise for part in parts]),
            np.concatenate([part.inside for part in parts]),
            [fate for part in parts for fate in part.fate],
            np.concatenate([part.strength for part in parts]),
            parts[0].time,
            parts[0].thresholds,
        )

    def date_together(self, units: np.ndarray) -> float:
        """When the mean strength of several units rises, octaves; NaN: never, or no unit.

        One unit may fire where little can be predicted of its rule; in the mean those say most that tell most.
        """
        if not len(units):
            return float("nan")
        mean = self.strength[units].mean(axis=0, keepdims=True)
        return float(compute_lives(mean, self.time, self.thresholds).half_rise[0])


def by_prediction(setting: Setting, predictions: Predictions) -> Courses:
    """Lives read off what the snapshots predict where a unit fires, as the recipe's `[analyses.evolution]` has it.

    Re-purposed: little of that is kept.
    """
    asked = setting.evolution
    lives = compute_lives(predictions.certain(asked.sure), setting.time, asked.thresholds)
    kept = np.where(lives.live, np.nan_to_num(predictions.kept, nan=1.0), 1.0).min(axis=1)
    return _read_courses(lives, kept < KEPT, setting.time, asked.thresholds)


def by_own_strength(setting: Setting, contender: Contender) -> Courses:
    """Lives read off the contender's own strengths; re-purposed: its direction turns after its onset."""
    time = setting.time[list(contender.places)]
    lives = compute_lives(contender.strength, time)
    turns = np.full(len(lives.onset), -1) if contender.turns is None else contender.turns
    return _read_courses(lives, turns > np.maximum(lives.onset, 0), time, DEFAULT_THRESHOLDS)


def _read_courses(lives: Lives, changed: np.ndarray, time: np.ndarray, thresholds: LifeThresholds) -> Courses:
    """Late-specific -> emerges; gone before the end -> vanishes; changed -> re-purposed; else persists, if it lives."""
    held = [lives.onset < 0, lives.kind == CLASSES.index("late-specific"), lives.vanish >= 0, changed]
    fates = np.select(held, ["no life", FATES[1], FATES[2], FATES[3]], FATES[0])
    named = [str(fate) for fate in fates]
    return Courses(lives.half_rise, lives.onset > 0, named, lives.strength, time, thresholds)
