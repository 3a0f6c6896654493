"""The life of a latent, read off its strength along a series: definitions with their thresholds. Pure numpy.

A strength is any number ≥ 0 per latent and source, in order of training: a decoder norm in normalised space, or how
much of the latent a snapshot was found to hold (latent scaling). A missing strength counts as 0.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from ontogeny.config import Config

CLASSES = ("initialisation", "persistent", "discontinued", "late-specific", "emergent", "transient", "mixed", "never")
"""Every latent is in exactly one; see `classify` for the order in which they are decided."""
NONE = -1
"""Stands for "no such source" in arrays of places."""

Share = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class LifeThresholds(Config):
    """What counts as live, as staying, as early and as late."""

    live_share: Share = 0.5
    """A latent is live in a source where its strength is at least this share of its largest in the series."""
    least_strength: NotNegative = 0.0
    """A latent whose largest strength is not above this is live nowhere."""
    hold: Annotated[int, Field(ge=1)] = 1
    """Sources in a row that a latent must be live in to count as live there; runs at the ends of a series count."""
    rise_share: Share = 0.5
    """The half-rise is where strength has come this far from its least value before the peak up to the peak."""
    stay_share: Share = 0.8
    """A latent stays if it is live in at least this share of the sources from its onset to the last one it lives in."""
    early_share: Fraction = 0.7
    """A fall is early within this share of the series' log time."""
    drop_share: Share = 0.5
    """A fall is sharp where strength loses at least this share of itself within `drop_octaves`."""
    drop_octaves: NotNegative = 6.0
    """Octaves of training within which a sharp fall happens; neighbouring sources always count."""
    late_share: Fraction = 0.9
    """A latent is late-specific if its onset lies after this share of the series' log time and it lives to the end."""


DEFAULT_THRESHOLDS = LifeThresholds()


@dataclass(frozen=True)
class Lives:
    """The lives of latents along one series. Places are indices of sources, −1 where there is none.

    `vanish` is the first source after the last one that a latent lives in: −1 for one that lives at the end, which is
    right-censored. `half_rise` is on the time axis given (NaN where there is none). `lifetime` is the time from onset
    to vanishing, or to the end: a lower bound where `left_censored` or `right_censored`.
    """

    strength: Float[np.ndarray, "latent source"]
    live: Bool[np.ndarray, "latent source"]
    onset: Int[np.ndarray, " latent"]
    peak: Int[np.ndarray, " latent"]
    vanish: Int[np.ndarray, " latent"]
    half_rise: Float[np.ndarray, " latent"]
    lifetime: Float[np.ndarray, " latent"]
    left_censored: Bool[np.ndarray, " latent"]
    right_censored: Bool[np.ndarray, " latent"]
    kind: Int[np.ndarray, " latent"]

    @property
    def classes(self) -> list[str]:
        """The class of every latent, by name."""
        return [CLASSES[kind] for kind in self.kind]


def compute_lives(
    strength: Float[np.ndarray, "latent source"],
    time: Float[np.ndarray, " source"],
    thresholds: LifeThresholds = DEFAULT_THRESHOLDS,
) -> Lives:
    """Onset, peak, half-rise, vanishing, lifetime, censoring and class of every latent; `time` in octaves, rising.

    onset = min{t: live}, vanish = max{t: live} + 1, peak = first argmax; docs/evolution.md has every formula.
    """
    assert strength.shape[1] == len(time), f"{strength.shape[1]} sources, {len(time)} times"
    assert np.all(np.diff(time) >= 0), "sources are not in order of training"
    strength = np.nan_to_num(strength.astype(np.float64), nan=0.0)
    assert strength.size == 0 or strength.min() >= 0, "a strength is negative"
    live = compute_live(strength, thresholds)
    alive, n_sources = live.any(axis=1), strength.shape[1]
    onset = np.where(alive, live.argmax(axis=1), NONE)
    last = np.where(alive, n_sources - 1 - live[:, ::-1].argmax(axis=1), NONE)
    ends = np.where(alive, np.minimum(last + 1, n_sources - 1), 0)
    return Lives(
        strength=strength,
        live=live,
        onset=onset,
        peak=np.where(alive, strength.argmax(axis=1), NONE),
        vanish=np.where(alive & (last < n_sources - 1), last + 1, NONE),
        half_rise=np.where(alive, compute_half_rise(strength, time, thresholds), np.nan),
        lifetime=np.where(alive, time[ends] - time[np.maximum(onset, 0)], np.nan),
        left_censored=alive & (onset == 0),
        right_censored=alive & (last == n_sources - 1),
        kind=classify(strength, live, time, thresholds),
    )


def compute_live(
    strength: Float[np.ndarray, "latent source"], thresholds: LifeThresholds = DEFAULT_THRESHOLDS
) -> Bool[np.ndarray, "latent source"]:
    """live = strength ≥ live_share · max over sources, where that max is above least_strength.

    Runs of live sources shorter than `hold` are dropped, except those at an end of the series, which are cut off.
    """
    largest = strength.max(axis=1, keepdims=True, initial=0.0)
    live = (strength >= thresholds.live_share * largest) & (largest > thresholds.least_strength)
    return live if thresholds.hold == 1 else _drop_short_runs(live, thresholds.hold)


def _drop_short_runs(live: Bool[np.ndarray, "latent source"], hold: int) -> Bool[np.ndarray, "latent source"]:
    """Keep the sources that lie in `hold` live ones in a row; what is beyond the series' ends counts as live."""
    n_sources = live.shape[1]
    padded = np.pad(live, ((0, 0), (hold - 1, hold - 1)), constant_values=True)
    windows = np.stack([padded[:, start : start + hold].all(axis=1) for start in range(n_sources + hold - 1)], axis=1)
    return np.stack([windows[:, place : place + hold].any(axis=1) for place in range(n_sources)], axis=1) & live


def compute_half_rise(
    strength: Float[np.ndarray, "latent source"],
    time: Float[np.ndarray, " source"],
    thresholds: LifeThresholds = DEFAULT_THRESHOLDS,
) -> Float[np.ndarray, " latent"]:
    """When strength first rises through b + rise_share (S − b), linear between sources in `time`.

    S is the peak and b the least strength up to it. NaN where strength never rises from below the live level: what is
    at b already live rose before the series began, and the wiggles of a flat trajectory are no rise.
    """
    peak = strength.argmax(axis=1)
    largest = strength.max(axis=1, initial=0.0)
    before = np.arange(strength.shape[1])[None, :] <= peak[:, None]
    least = np.where(before, strength, np.inf).min(axis=1)
    rises = least < thresholds.live_share * largest
    level = (least + thresholds.rise_share * (largest - least))[:, None]
    crossing = (strength[:, :-1] < level) & (strength[:, 1:] >= level) & before[:, 1:]
    found = rises & crossing.any(axis=1)
    place = crossing.argmax(axis=1) if crossing.shape[1] else np.zeros(len(strength), dtype=np.int64)
    rows = np.arange(len(strength))
    low, high = strength[rows, place], strength[rows, np.minimum(place + 1, strength.shape[1] - 1)]
    start, stop = time[place], time[np.minimum(place + 1, len(time) - 1)]
    share = np.divide(level[:, 0] - low, high - low, out=np.zeros(len(strength)), where=high > low)
    return np.where(found, start + share * (stop - start), np.nan)


def classify(
    strength: Float[np.ndarray, "latent source"],
    live: Bool[np.ndarray, "latent source"],
    time: Float[np.ndarray, " source"],
    thresholds: LifeThresholds = DEFAULT_THRESHOLDS,
) -> Int[np.ndarray, " latent"]:
    """The class of every latent as an index into `CLASSES`: the first of these that holds.

    1. never: live nowhere. 2. initialisation: live in the first source, and falls early, sharply and below live;
    it may recover. 3. mixed: live in less than stay_share of the sources from onset to last. Then by the two ends:
    4. persistent: live in first and last. 5. discontinued: in the first only. 6. late-specific: in the last only,
    with a late onset. 7. emergent: in the last only. 8. transient: in neither.
    """
    n_sources = strength.shape[1]
    alive, first, end = live.any(axis=1), live[:, 0], live[:, -1]
    onset = live.argmax(axis=1)
    span = n_sources - live[:, ::-1].argmax(axis=1) - onset
    stays = live.sum(axis=1) >= thresholds.stay_share * span
    late = time[onset] - time[0] > thresholds.late_share * (time[-1] - time[0])
    held = [
        ("never", ~alive),
        ("initialisation", first & _falls_early(strength, live, time, thresholds)),
        ("mixed", ~stays),
        ("persistent", first & end),
        ("discontinued", first),
        ("late-specific", end & late),
        ("emergent", end),
    ]
    codes = [CLASSES.index(name) for name, _ in held]
    return np.select([holds for _, holds in held], codes, CLASSES.index("transient"))


def _falls_early(
    strength: Float[np.ndarray, "latent source"],
    live: Bool[np.ndarray, "latent source"],
    time: Float[np.ndarray, " source"],
    thresholds: LifeThresholds,
) -> Bool[np.ndarray, " latent"]:
    """Whether strength falls sharply, early in the series, to where the latent is not live.

    There are sources a < b with strength_b ≤ (1 − drop_share) strength_a, at most drop_octaves apart or neighbours,
    b early and not live.
    """
    falls = np.zeros(len(strength), dtype=bool)
    early = time[0] + thresholds.early_share * (time[-1] - time[0])
    for b in range(1, len(time)):
        if time[b] > early:
            break
        near = [a for a in range(b) if a == b - 1 or time[b] - time[a] <= thresholds.drop_octaves]
        highest = strength[:, near].max(axis=1)
        falls |= ~live[:, b] & (highest > 0) & (strength[:, b] <= (1.0 - thresholds.drop_share) * highest)
    return falls


@dataclass(frozen=True)
class Population:
    """Latents by source: live there, live there for the first time, live in the source before and not here."""

    live: Int[np.ndarray, " source"]
    born: Int[np.ndarray, " source"]
    gone: Int[np.ndarray, " source"]


def count_population(live: Bool[np.ndarray, "latent source"]) -> Population:
    """Counts over time. A latent is born once and may be gone several times: it may come back.

    The first source's `born` are left-censored: they were there when the series began.
    """
    first = live & (np.cumsum(live, axis=1) == 1)
    gone = np.zeros(live.shape[1], dtype=np.int64)
    gone[1:] = (live[:, :-1] & ~live[:, 1:]).sum(axis=0)
    return Population(live.sum(axis=0), first.sum(axis=0), gone)


def rank_by_birth(lives: Lives) -> Int[np.ndarray, " latent"]:
    """Latents from the earliest to the latest: by onset, then by how strong they were before it.

    Within one onset, a latent that was all but there before counts as earlier than one that came from nothing; among
    those live from the first source on, the mean share over all sources puts the fading ones first. Those that live
    nowhere come last.
    """
    n_sources = lives.live.shape[1]
    onset = np.where(lives.onset == NONE, n_sources, lives.onset)
    largest = lives.strength.max(axis=1, keepdims=True)
    share = np.divide(lives.strength, largest, out=np.zeros_like(lives.strength), where=largest > 0)
    before = np.arange(n_sources)[None, :] < onset[:, None]
    earlier = np.where(before, share, 0).sum(axis=1) / np.maximum(before.sum(axis=1), 1)
    earlier = np.where(onset == 0, 1 + share[:, 0] - share.mean(axis=1), earlier)
    ranked: np.ndarray = np.lexsort((np.arange(len(share)), -earlier, onset))
    return ranked
