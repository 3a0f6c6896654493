"""RelIE: which snapshots a latent's effect on a behaviour belongs to. Pure numpy, any number of snapshots.

J = I / T                       the mean effect over the snapshot's total effect: late logits are larger for all latents
A = sqrt(max(0, J^2 - se^2))    its size without what noise adds (|mean| of pure noise is not 0)
r = A / sum over snapshots of A

Source: arXiv 2509.05291 for r with A = |I| and two or three snapshots; the rest is ours.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ontogeny.latents.trajectories import compute_half_rise

CLASSES = (
    "non-causal",
    "sign-reversing",
    "maintained",
    "late-specific",
    "discontinued",
    "emerging",
    "transient",
    "interrupted",
)
"""Every latent is in exactly one; see `classify_effects` for the order in which they are decided."""
HALF, SUPPORT = 0.5, 0.9
LEGACY_LOW, LEGACY_HIGH = 0.3, 0.7


@dataclass(frozen=True)
class RelativeEffects:
    """Of every latent; NaN (0 for `support`, -1 for `peak`) where no snapshot's effect is significant.

    `size` is A; `share` is r; `n_effective` = exp(entropy of r): 1 is specific to one snapshot, K shared by all;
    `support`: the fewest snapshots that hold 90 %; `half_rise`, `centre` on the time axis given; `half_life`: time from
    the peak until A has fallen to half of it, where `censored` a lower bound, for it never does.
    """

    size: Float[np.ndarray, "latent source"]
    share: Float[np.ndarray, "latent source"]
    n_effective: Float[np.ndarray, "latent"]
    support: Int[np.ndarray, "latent"]
    peak: Int[np.ndarray, "latent"]
    half_rise: Float[np.ndarray, "latent"]
    half_life: Float[np.ndarray, "latent"]
    censored: Bool[np.ndarray, "latent"]
    centre: Float[np.ndarray, "latent"]
    reverses: Bool[np.ndarray, "latent"]
    kind: Int[np.ndarray, "latent"]

    @property
    def classes(self) -> list[str]:
        """The class of every latent, by name."""
        return [CLASSES[kind] for kind in self.kind]


def compute_relative_effects(
    effect: Float[np.ndarray, "latent source"],
    se: Float[np.ndarray, "latent source"],
    significant: Bool[np.ndarray, "latent source"],
    time: Float[np.ndarray, "source"],
    total: Float[np.ndarray, "source"] | None = None,
    noise: float = 1.0,
) -> RelativeEffects:
    """RelIE and the shape of the effect over training; sources in order of training, `time` in octaves.

    `total`: each snapshot's total effect, None to take effects as they are. `noise`: how often se^2 is in the square of
    `effect`: once in a mean, twice in a mean of a bootstrap's draw.
    """
    assert effect.shape == se.shape == significant.shape, "effects, errors and tests of the same latents and sources"
    size = compute_size(effect, se, total, noise)
    causal = significant.any(axis=1) & (size.sum(axis=1) > 0)
    size = np.where(causal[:, None], size, 0.0)
    share = np.divide(size, size.sum(axis=1, keepdims=True), out=np.full_like(size, np.nan), where=causal[:, None])
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    descending = -np.sort(-np.nan_to_num(share), axis=1)
    support = (np.cumsum(descending, axis=1) < SUPPORT - 1e-12).sum(axis=1) + 1
    peak = np.where(causal, size.argmax(axis=1), -1)
    life, censored = compute_half_life(size, time)
    reverses = causal & (significant & (effect > 0)).any(axis=1) & (significant & (effect < 0)).any(axis=1)
    return RelativeEffects(
        size=size,
        share=share,
        n_effective=np.where(causal, np.exp(-(np.nan_to_num(share) * logs).sum(axis=1)), np.nan),
        support=np.where(causal, support, 0),
        peak=peak,
        half_rise=np.where(causal, compute_half_rise(size, time), np.nan),
        half_life=np.where(causal, life, np.nan),
        censored=causal & censored,
        centre=np.where(causal, np.nan_to_num(share) @ time, np.nan),
        reverses=reverses,
        kind=classify_effects(size, causal, reverses),
    )


def compute_size(
    effect: Float[np.ndarray, "*any source"],
    se: Float[np.ndarray, "*any source"],
    total: Float[np.ndarray, "source"] | None = None,
    noise: float = 1.0,
) -> Float[np.ndarray, "*any source"]:
    """A = sqrt(max(0, I^2 - noise · se^2)) / |T|; 0 where a snapshot has no total effect or no error is known."""
    square = np.square(effect) - noise * np.square(se)
    size = np.sqrt(np.maximum(np.nan_to_num(square), 0.0))
    if total is None:
        return size
    scale = np.abs(total)
    return np.divide(size, scale, out=np.zeros_like(size), where=np.broadcast_to(scale > 0, size.shape))


def compute_half_life(
    size: Float[np.ndarray, "latent source"], time: Float[np.ndarray, "source"]
) -> tuple[Float[np.ndarray, "latent"], Bool[np.ndarray, "latent"]]:
    """Time from the peak until size first is at half of it, linear between sources; and whether it never is.

    Where it never is, the time from the peak to the end: a lower bound.
    """
    peak, n_sources = size.argmax(axis=1), size.shape[1]
    level = HALF * size.max(axis=1, keepdims=True)
    falls = (size <= level) & (np.arange(n_sources) > peak[:, None])
    censored = ~falls.any(axis=1)
    place = np.where(censored, n_sources - 1, falls.argmax(axis=1))
    rows = np.arange(len(size))
    before = np.maximum(place - 1, 0)
    high, low = size[rows, before], size[rows, place]
    along = np.divide(high - level[:, 0], high - low, out=np.ones(len(size)), where=high > low)
    end = np.where(censored, time[-1], time[before] + along * (time[place] - time[before]))
    return end - time[peak], censored


def classify_effects(
    size: Float[np.ndarray, "latent source"], causal: Bool[np.ndarray, "latent"], reverses: Bool[np.ndarray, "latent"]
) -> Int[np.ndarray, "latent"]:
    """The class of every latent as an index into `CLASSES`: the first of these that holds.

    A source is held where size is at least half the largest. non-causal: no significant effect. sign-reversing:
    significant with both signs. maintained: held in all sources. late-specific: in the last of three or more alone.
    Then by the ends: discontinued: the first, not the last; emerging: the last, not the first; transient: neither;
    interrupted: both, and not all between.
    """
    held = size >= HALF * size.max(axis=1, keepdims=True)
    first, last = held[:, 0], held[:, -1]
    late = last & (held.sum(axis=1) == 1) & (size.shape[1] > 2)
    rules = [~causal, reverses, held.all(axis=1), late, first & ~last, last & ~first, ~first & ~last]
    return np.select(rules, np.arange(len(rules)), CLASSES.index("interrupted"))


def class_probabilities(
    draws: Float[np.ndarray, "draw latent source"],
    se: Float[np.ndarray, "latent source"],
    significant: Bool[np.ndarray, "latent source"],
    time: Float[np.ndarray, "source"],
    totals: Float[np.ndarray, "draw source"] | None = None,
) -> tuple[
    Float[np.ndarray, "latent class"], Float[np.ndarray, "draw latent source"], Float[np.ndarray, "draw latent"]
]:
    """How often a draw of clusters gives each class; the shares and the half-rises in every draw.

    Which effects are significant is taken from all clusters: a draw repeats some and cannot be tested.
    """
    counts = np.zeros((draws.shape[1], len(CLASSES)))
    shares, rises = np.empty_like(draws), np.empty(draws.shape[:2])
    for number, effect in enumerate(draws):
        total = None if totals is None else totals[number]
        found = compute_relative_effects(effect, se, significant, time, total, noise=2.0)
        counts[np.arange(len(counts)), found.kind] += 1
        shares[number], rises[number] = found.share, found.half_rise
    return counts / max(len(draws), 1), shares, rises


# ---- as published --------------------------------------------------------------------------------------------------


def compute_legacy_shares(effect: Shaped[np.ndarray, "source latent"]) -> Shaped[np.ndarray, "source latent"]:
    """|I_k| / sum |I|; a latent without any effect gets 0.5 in EVERY source, as the published code has it.

    With two sources the published number is the second row.
    """
    size = np.abs(effect)
    total = size.sum(axis=0)
    return np.divide(size, total, out=np.full_like(size, 0.5), where=total > 0)


def compute_legacy_pairs(effect: Shaped[np.ndarray, "source latent"]) -> Shaped[np.ndarray, "pair latent"]:
    """Shares of the later source within pairs: neighbours in order, then the last with the first; 0.5 as above.

    With three sources 2/(1+2), 3/(2+3), 3/(1+3); NaN for 0/0 where a third source has an effect.
    """
    size = np.abs(effect)
    out = []
    for early, late in legacy_pairs(len(size)):
        both = size[early] + size[late]
        out.append(np.divide(size[late], both, out=np.full_like(both, np.nan), where=both > 0))
    found: np.ndarray = np.where(size.sum(axis=0) > 0, np.stack(out), np.asarray(0.5, dtype=size.dtype))
    return found


def legacy_pairs(n_sources: int) -> list[tuple[int, int]]:
    """The pairs of `compute_legacy_pairs`, in its order: (earlier, later)."""
    near = [(k, k + 1) for k in range(n_sources - 1)]
    return near + [pair for pair in combinations(range(n_sources), 2) if pair not in near]


def legacy_classes(shares: Shaped[np.ndarray, "source latent"], names: tuple[str, ...]) -> list[str]:
    """The published groups. Two sources: the second's share < 0.3, > 0.7, or shared. More: one share > 0.7, else the
    sources with >= 0.3 share it if there are two of them, else Other."""
    if len(shares) == 2:
        ends = np.select([shares[1] < LEGACY_LOW, shares[1] > LEGACY_HIGH], [0, 1], 2)
        return [(f"{names[0]} specific", f"{names[1]} specific", f"{names[0]}-{names[1]} shared")[at] for at in ends]
    found = []
    for column in shares.T:
        over, held = np.flatnonzero(column > LEGACY_HIGH), np.flatnonzero(column >= LEGACY_LOW)
        if len(over):
            found.append(f"{names[over[0]]} dominant")
        else:
            found.append("-".join(names[at] for at in held) + " shared" if len(held) > 1 else "Other")
    return found
