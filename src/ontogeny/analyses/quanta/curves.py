"""Mean losses of quanta over snapshots, and when each emerged, with draws of documents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ontogeny.analyses.quanta.config import QuantaReportConfig
from ontogeny.analyses.quanta.sample import QuantaSample
from ontogeny.latents.clusters import percentile_interval, renumber, sum_clusters
from ontogeny.quanta.emergence import NAMES, axis_to_step, emergence_axis, find_emergence, halfway, summarise_draws


@dataclass(frozen=True)
class QuantaCurves:
    """Mean loss [quantum snapshot], its standard error over documents, and its interval; NaN where a document is alone.

    `emergence`: columns of the table by name, one value a quantum.
    """

    mean: Float[np.ndarray, "quantum snapshot"]
    se: Float[np.ndarray, "quantum snapshot"]
    low: Float[np.ndarray, "quantum snapshot"]
    high: Float[np.ndarray, "quantum snapshot"]
    emergence: list[dict[str, Any]]


def compute_quanta_curves(sample: QuantaSample, config: QuantaReportConfig) -> QuantaCurves:
    """Means over tokens; documents are what is drawn."""
    shape = (sample.n_quanta, sample.losses.shape[1])
    mean, se, low, high = np.full((4, *shape), np.nan)
    emergence = []
    for quantum in range(sample.n_quanta):
        members = sample.members(quantum)
        losses = sample.losses[members]
        sums = sum_clusters(losses, *renumber(sample.documents[members]))
        drawn = sample.weights[:, members]
        drawn = drawn[drawn.sum(axis=1) > 0]
        means = drawn @ losses / drawn.sum(axis=1, keepdims=True)
        mean[quantum] = sums.mean
        alone = len(sums.size) < 2
        if not alone:
            se[quantum] = sums.se
            low[quantum], high[quantum] = percentile_interval(means, config.level)
        emergence.append(_emergence(sample, config, mean[quantum], means[: 0 if alone else None]))
    return QuantaCurves(mean, se, low, high, emergence)


def _thresholds(curves: Float[np.ndarray, "curve snapshot"], config: QuantaReportConfig) -> np.ndarray:
    if config.emergence_loss is not None:
        return np.full(len(curves), config.emergence_loss)
    return halfway(curves, config.emergence_share)


def _emergence(
    sample: QuantaSample,
    config: QuantaReportConfig,
    curve: Float[np.ndarray, " snapshot"],
    draws: Float[np.ndarray, "draw snapshot"],
) -> dict[str, Any]:
    """When one quantum emerged; each draw has a threshold of its own."""
    axis = emergence_axis(sample.steps)
    threshold = _thresholds(curve[None], config)
    found = find_emergence(curve[None], axis, threshold)
    at = find_emergence(draws, axis, _thresholds(draws, config)).at[:, None] if len(draws) else np.zeros((0, 1))
    low, high = summarise_draws(at, config.level)
    steps = axis_to_step(sample.steps, np.concatenate([found.at, low, high]))
    known: Bool[np.ndarray, 3] = np.isfinite(steps)
    numbers = [float(step) if there else None for step, there in zip(steps, known, strict=True)]
    return {
        "emergence_step": numbers[0],
        "emergence_low": numbers[1],
        "emergence_high": numbers[2],
        "censored": NAMES[int(found.censored[0])],
        "threshold": float(threshold[0]) if np.isfinite(threshold[0]) else None,
        "forgotten": bool(found.forgotten[0]),
    }
