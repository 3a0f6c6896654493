"""When quanta emerge and latents rise, on one axis: log2(1 + step), or places in the series where steps are unknown."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta_latents.config import QuantaLatentsConfig
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.betas import compute_held_strength
from ontogeny.latents.clusters import draw_weights, renumber, sum_clusters
from ontogeny.latents.scaling import Probes, ScalingAccumulator
from ontogeny.latents.times import series_by_hook_point
from ontogeny.latents.together import Together
from ontogeny.latents.trajectories import compute_lives
from ontogeny.quanta.emergence import emergence_axis, find_emergence, halfway, summarise_draws
from ontogeny.quanta.measured import SizeLosses

OCTAVE = float(np.log(2))


@dataclass(frozen=True)
class QuantaTimes:
    """Mean loss of every quantum and its standard error [quantum snapshot]; `at`, `low`, `high` [quantum]: emergence.

    Times on the axis of all snapshots, −inf and +inf outside the series; NaN standard errors in a single document.
    """

    loss: Float[np.ndarray, "quantum snapshot"]
    se: Float[np.ndarray, "quantum snapshot"]
    axis: Float[np.ndarray, " snapshot"]
    at: Float[np.ndarray, " quantum"]
    low: Float[np.ndarray, " quantum"]
    high: Float[np.ndarray, " quantum"]
    has_steps: bool

    def step(self, time: float) -> float | None:
        """What a time is in steps (or places); None outside the series and where there is none."""
        if not np.isfinite(time):
            return None
        return float(2.0**time - 1.0) if self.has_steps else float(time)


def compute_quanta_times(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> QuantaTimes:
    """From all tokens of each quantum, held out or not; documents are what is drawn."""
    assert inputs.quanta is not None and inputs.losses is not None
    clusters, own = inputs.quanta, inputs.losses.own
    labels = clusters.labels[clusters.last]
    losses = own.losses[clusters.tokens].astype(np.float64)
    steps = [snapshot.step for snapshot in own.snapshots]
    has_steps = all(step is not None for step in steps)
    axis = emergence_axis(steps) / (OCTAVE if has_steps else 1.0)
    n_quanta = int(labels.max()) + 1
    mean, se = np.full((2, n_quanta, losses.shape[1]), np.nan)
    at, low, high = np.full((3, n_quanta), np.nan)
    for quantum in range(n_quanta):
        mine = labels == quantum
        sums = sum_clusters(losses[mine], *renumber(clusters.documents[mine]))
        mean[quantum], se[quantum] = sums.mean, sums.se
        curve = mean[quantum][None]
        at[quantum] = find_emergence(curve, axis, halfway(curve, config.emergence_share)).at[0]
        several = len(sums.size) > 1
        drawn = sums.bootstrap(draw_weights(len(sums.size), config.draws if several else 0, config.seed))
        times = find_emergence(drawn, axis, halfway(drawn, config.emergence_share)).at
        low[quantum], high[quantum] = (float(each[0]) for each in summarise_draws(times[:, None]))
    return QuantaTimes(mean, se, axis, at, low, high, has_steps)


@dataclass(frozen=True)
class LatentTimes:
    """Times of all latents along one hook point's sources: NaN where they lie outside the series or are none.

    `places`: sources of the dictionary; `snapshots`: places of their snapshots in the series that losses are of;
    `share` [latent source]: strength over the largest.
    """

    hook_point: str
    places: list[int]
    snapshots: list[int]
    onset: Float[np.ndarray, " latent"]
    half_rise: Float[np.ndarray, " latent"]
    share: Float[np.ndarray, "latent source"]


def make_rider(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> Accumulator:
    """Latent scaling along each latent's own decoders; nothing for norms."""
    if config.strength == "norm":
        return Together({})
    return ScalingAccumulator(inputs.dictionary, Probes.at_peak(inputs.dictionary), n_blocks=1)


def _strength(inputs: AnalysisInputs, config: QuantaLatentsConfig) -> Float[np.ndarray, "latent source"]:
    """Of every latent in every source the dictionary writes, 0 for a latent that never fires."""
    assert inputs.codes is not None
    norms = inputs.codes.norms.astype(np.float64)
    if config.strength == "norm":
        return norms
    return np.nan_to_num(compute_held_strength(inputs.accumulated, norms), nan=0.0)


def compute_latent_times(
    inputs: AnalysisInputs, config: QuantaLatentsConfig, own: SizeLosses, axis: Float[np.ndarray, " snapshot"]
) -> list[LatentTimes]:
    """One for every hook point, snapshots in order of training."""
    every = _strength(inputs, config)
    found = []
    for hook_point, places in series_by_hook_point(inputs.sources).items():
        snapshots = [own.labels.index(inputs.sources[place].snapshot.label) for place in places]
        strength = every[:, places]
        time = axis[snapshots]
        lives = compute_lives(strength, time, config.thresholds)
        largest = strength.max(axis=1, keepdims=True)
        share = np.divide(strength, largest, out=np.zeros_like(strength), where=largest > 0)
        onset = np.where(lives.onset > 0, time[np.maximum(lives.onset, 0)], np.nan)
        found.append(LatentTimes(hook_point, places, snapshots, onset, lives.half_rise, share))
    return found
