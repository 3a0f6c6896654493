"""The rank-frequency envelope of a sample's clusters, its slope, and the same of planted clusters."""

from typing import Any

import numpy as np

from ontogeny.analyses.quanta.config import QuantaReportConfig
from ontogeny.analyses.quanta.sample import QuantaSample
from ontogeny.quanta.envelope import clip_counts, fit_envelope, run_planted_control
from ontogeny.quanta.methods import make_clusterer


def make_envelope(sample: QuantaSample, config: QuantaReportConfig) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows by rank, and the slopes for the summary; the control has the slope found as its own."""
    clusterer = make_clusterer(config.envelope_method, seed=config.seed, n_init=1)
    counts = clip_counts(len(sample.labels), config.envelope_counts)
    fit = fit_envelope(
        sample.similarity,
        clusterer,
        counts,
        config.envelope_ranks,
        config.envelope_draws,
        sample.documents,
        config.seed,
        config.level,
    )
    control = run_planted_control(
        sample.similarity,
        sample.labels,
        clusterer,
        fit.ranks,
        -fit.slope,
        counts,
        max(config.envelope_draws, 1),
        config.seed,
    )
    rows = [
        {
            "rank": rank + 1,
            "size": float(size),
            "low": _at(fit.sizes_low, rank),
            "high": _at(fit.sizes_high, rank),
            "control": _at(control.envelope, rank),
            "truth": _at(control.sizes, rank),
        }
        for rank, size in enumerate(fit.envelope)
    ]
    known = fit.n_draws > 1
    slopes = {
        "envelope_slope": fit.slope,
        "envelope_slope_se": fit.se if known else None,
        "envelope_slope_low": fit.low if known else None,
        "envelope_slope_high": fit.high if known else None,
        "envelope_first_rank": fit.ranks[0],
        "envelope_last_rank": fit.ranks[1],
        "envelope_bias": control.bias,
        "envelope_bias_se": control.se if len(control.found) > 1 else None,
        "envelope_control_ari": float(control.ari.mean()),
    }
    return rows, slopes


def _at(sizes: np.ndarray, rank: int) -> float | None:
    return float(sizes[rank]) if rank < len(sizes) else None
