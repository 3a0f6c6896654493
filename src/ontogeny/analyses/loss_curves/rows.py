"""Rows of the tables over all tokens: means, power laws, densities, what is learned, kept and forgotten."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from ontogeny.analyses.loss_curves.config import LossCurvesConfig
from ontogeny.analyses.loss_curves.sums import SIZES, Axis, AxisSums, iter_blocks
from ontogeny.latents.clusters import ClusterSums, percentile_interval
from ontogeny.quanta.curves import fit_power_law
from ontogeny.quanta.densities import compute_density
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.measured import SizeLosses

Weights = Float[np.ndarray, "draw document"]


def number(value: Any) -> float | None:
    """A number of a table: null where it is not defined."""
    return float(value) if np.isfinite(value) else None


def mean_rows(size: SizeLosses, sums: AxisSums, weights: Weights, level: float) -> Iterator[dict[str, Any]]:
    """The mean loss of every snapshot."""
    means = sums.means
    low, high = percentile_interval(means.bootstrap(weights), level)
    alone = len(sums.size) < 2
    for place, snapshot in enumerate(size.snapshots):
        yield {
            "size": size.name,
            "snapshot": snapshot.label,
            "step": snapshot.step,
            "tokens": snapshot.tokens,
            "loss": float(means.mean[place]),
            "loss_se": number(means.se[place]),
            "loss_low": None if alone else float(low[place]),
            "loss_high": None if alone else float(high[place]),
            "n": int(sums.size.sum()),
            "n_documents": len(sums.size),
        }


def fit_rows(axis: Axis, sums: AxisSums, weights: Weights, config: LossCurvesConfig) -> Iterator[dict[str, Any]]:
    """The power law of the mean loss along an axis; none where fewer than two points are left."""
    means = sums.means
    places = _fitted(axis, means.mean, config)
    if axis.x_name == "snapshot" or len(np.unique(axis.x[places])) < 2:
        return
    x = axis.x[places]
    law = fit_power_law(x, means.mean[places])
    drawn = [fit_power_law(x, each[places]).exponent for each in means.bootstrap(weights)]
    low, high = percentile_interval(np.array(drawn), config.level)
    alone = len(sums.size) < 2
    yield {
        "over": axis.name,
        "x": axis.x_name,
        "exponent": law.exponent,
        "exponent_se": number(law.exponent_se),
        "exponent_low": None if alone else float(low),
        "exponent_high": None if alone else float(high),
        "constant": law.constant,
        "r2": number(law.r2),
        "n": law.n,
        "first": float(x.min()),
        "last": float(x.max()),
    }


def _fitted(axis: Axis, loss: Float[np.ndarray, " column"], config: LossCurvesConfig) -> np.ndarray:
    """Columns of the fit: all sizes; of a series those from `fit_first` on, or from half of the fall of log loss on."""
    places = np.flatnonzero((axis.x > 0) & (loss > 0))
    if axis.name == SIZES or len(places) < 2:
        return places
    if config.fit_first is not None:
        return np.array([p for p in places if (axis.steps[p] or 0) >= config.fit_first], dtype=np.int64)
    log = np.log(loss)
    reached = np.flatnonzero(log <= (log[0] + log.min()) / 2)
    return places[places >= (reached[0] if len(reached) else 0)]


def density_rows(size: SizeLosses, documents: Documents, config: LossCurvesConfig) -> Iterator[dict[str, Any]]:
    """p(L) of every snapshot."""
    edges = np.linspace(0, config.max_loss, config.n_bins + 1)
    blocks = list(iter_blocks(documents, config.max_tokens))
    tokens = slice(blocks[0][0].start, blocks[-1][0].stop)
    document = np.concatenate([each for _, each in blocks])
    for place, snapshot in enumerate(size.snapshots):
        found = compute_density(np.asarray(size.losses[tokens, place]), document, edges)
        for at in np.flatnonzero(found.n).tolist():
            yield {
                "size": size.name,
                "snapshot": snapshot.label,
                "step": snapshot.step,
                "bin_low": float(edges[at]),
                "bin_high": float(edges[at + 1]),
                "density": float(found.density[at]),
                "density_se": number(found.se[at]),
                "contribution": float(found.contribution[at]),
                "n": int(found.n[at]),
            }


def _interval(name: str, sums: ClusterSums, weights: Weights, level: float) -> dict[str, float | None]:
    """A share with its interval; null where nothing was counted."""
    if sums.size.sum() == 0:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    drawn = weights[weights @ sums.size > 0]
    low, high = percentile_interval(sums.bootstrap(drawn), level)
    alone = int((sums.size > 0).sum()) < 2
    ends = {f"{name}_low": None if alone else float(low), f"{name}_high": None if alone else float(high)}
    return {name: float(sums.mean), **ends}


def change_rows(axis: Axis, sums: AxisSums, weights: Weights, level: float) -> Iterator[dict[str, Any]]:
    """What each column solves, and what of it stays; nothing is learned in the first, where no column is before."""
    for place, label in enumerate(axis.labels):
        yield {
            "over": axis.name,
            "column": label,
            "step": axis.steps[place],
            "n_solved": int(sums.solved[:, place].sum()),
            **_interval("stays", sums.share("stays", place, of="solved"), weights, level),
            "n_emerged": int(sums.emerged[:, place].sum()),
            **_interval("emerged", sums.share("emerged", place), weights, level),
            **_interval("forgotten", sums.share("forgotten", place, of="emerged"), weights, level),
            "n_monogenic": int(sums.monogenic[:, place].sum()),
            **_interval("monogenic", sums.share("monogenic", place), weights, level),
        }


def kind_rows(axis: Axis, sums: AxisSums, weights: Weights, level: float) -> Iterator[dict[str, Any]]:
    """How many tokens are of each kind."""
    everything = sums.size
    ever = sums.emerged.sum(axis=1)
    counted: dict[str, tuple[np.ndarray, np.ndarray]] = {
        "monogenic": (sums.monogenic.sum(axis=1), everything),
        "polygenic": (sums.polygenic, everything if len(axis.sloped) else np.zeros_like(everything)),
        "solved": (sums.solved.sum(axis=1), everything),
        "emerged": (ever, everything),
        "forgotten": (sums.forgotten.sum(axis=1), ever),
    }
    for kind, (part, of) in counted.items():
        row = {"over": axis.name, "kind": kind, "n": int(part.sum()), "n_of": int(of.sum())}
        yield row | _interval("share", ClusterSums(part, of), weights, level)
