"""Latents ablated one by one, beside RelIE: which predicts better where a latent matters."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ontogeny.analyses.ablation.config import AblationConfig
from ontogeny.analyses.ablation.judge import Judge, is_right, rank_correlation
from ontogeny.analyses.ablation.measure import Ablated
from ontogeny.analyses.ablation.tables import known_share, number
from ontogeny.latents.clusters import draw_weights, percentile_interval
from ontogeny.latents.relie import compute_size
from ontogeny.types import Source


class SingleRows:
    """Latents ablated alone, in all sources of one behaviour, beside RelIE; `series`: columns of one hook point."""

    def __init__(
        self,
        name: str,
        given: Ablated,
        sources: Sequence[Source],
        names: Sequence[str],
        series: Sequence[Sequence[int]],
        config: AblationConfig,
    ) -> None:
        self.name, self.given, self.sources, self.names, self.config = name, given, sources, names, config
        self.judge = Judge(given.pairs.cluster[given.measured], config.draws, 1, config.seed)
        sums = [self.judge.sums(found.single) for found in given.sources]
        self.effect = np.stack([each.mean for each in sums], axis=1)
        self.se = np.stack([each.se for each in sums], axis=1)
        totals = [found.states["everything"] - found.states["untouched"] for found in given.sources]
        self.size = compute_size(
            self.effect, np.nan_to_num(self.se), np.array([np.abs(total).mean() for total in totals])
        )
        scores = given.scores
        self.norm = scores.at(scores.norm_share, given.singles)
        self.share = scores.at(scores.share, given.singles)
        self.ablated = np.zeros_like(self.size)
        for places in series:
            total = self.size[:, places].sum(axis=1, keepdims=True)
            part = np.divide(
                self.size[:, places], total, out=np.full_like(self.size[:, places], np.nan), where=total > 0
            )
            self.ablated[:, places] = part
            self.share[:, places] = known_share(self.share[:, places])
        self.series = series

    def singles(self) -> Iterator[dict[str, Any]]:
        """One row a latent and source."""
        estimate = self.given.scores.at(self.given.scores.effect, self.given.singles)
        for column, found in enumerate(self.given.sources):
            start = found.states["untouched"][:, None]
            change = (is_right(start + found.single) - is_right(start)).mean(axis=0)
            compared = bool((self.given.pairs.wrong[self.given.measured] >= 0).all())
            for at, latent in enumerate(self.given.singles):
                yield {
                    "latent": int(latent),
                    "behaviour": self.name,
                    "source": self.names[column],
                    "step": self.sources[column].snapshot.step,
                    "n": self.judge.n,
                    "n_clusters": self.judge.n_clusters,
                    "estimate": float(estimate[at, column]),
                    "ablated": number(self.effect[at, column]),
                    "ablated_se": number(self.se[at, column]),
                    "accuracy_change": number(change[at]) if compared else None,
                    "share": number(self.share[at, column]),
                    "norm_share": number(self.norm[at, column]),
                    "ablated_share": number(self.ablated[at, column]),
                }

    def agreement(self) -> Iterator[dict[str, Any]]:
        """Between neighbours in training: which predicts better how much more a latent matters in the later one."""
        for places in self.series:
            for early, late in pairwise(places):
                size = np.abs(self.effect)
                target = _later(size[:, early], size[:, late])
                for predictor, values in (("share", self.share), ("norm_share", self.norm)):
                    part = _later(values[:, early], values[:, late])
                    known = np.isfinite(part) & np.isfinite(target)
                    rho = rank_correlation(part, target)
                    low, high = self._interval(part[known], target[known])
                    yield {
                        "behaviour": self.name,
                        "earlier": self.names[early],
                        "later": self.names[late],
                        "predictor": predictor,
                        "rho": number(rho),
                        "rho_low": number(low),
                        "rho_high": number(high),
                        "n": int(known.sum()),
                    }

    def _interval(self, one: np.ndarray, other: np.ndarray) -> tuple[Any, Any]:
        if len(one) < 3:
            return float("nan"), float("nan")
        weights = draw_weights(len(one), self.config.draws, self.config.seed).astype(int)
        drawn = [np.repeat(np.arange(len(one)), each) for each in weights]
        return percentile_interval(np.array([rank_correlation(one[at], other[at]) for at in drawn]))


def _later(early: np.ndarray, late: np.ndarray) -> np.ndarray:
    """late / (early + late); NaN for 0/0."""
    both = early + late
    return np.divide(late, both, out=np.full(len(both), np.nan), where=both > 0)
