"""Rows of the tables of an ablation, behaviour after behaviour and source after source."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ontogeny.analyses.ablation.config import AblationConfig
from ontogeny.analyses.ablation.judge import (
    Estimate,
    Judge,
    half_counts,
    is_right,
    share_of,
)
from ontogeny.analyses.ablation.measure import STATES, Ablated, Order

NONE = {"kept": "untouched", "moved": "error"}
WHOLE = {"kept": "latents", "moved": "everything"}
"""By what becomes of the error: the state in which no latent is ablated, and that in which all are."""


def number(value: Any) -> float | None:
    """A number, or None where there is none."""
    return None if value is None or not np.isfinite(value) else float(value)


def ends(name: str, estimate: Estimate | None, at: int | None = None) -> dict[str, float | None]:
    """A number with both ends of its interval, under its names."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = estimate.interval()
    parts = (estimate.value, low, high)
    chosen = [np.asarray(part) if at is None else np.asarray(part)[at] for part in parts]
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(number, chosen), strict=True))


class SourceRows:
    """The rows of one behaviour in one source."""

    def __init__(self, name: str, given: Ablated, column: int, label: str, step: int | None, config: AblationConfig):
        self.given, self.column, self.config = given, column, config
        self.found = given.sources[column]
        self.place = {"behaviour": name, "source": label, "step": step}
        self.judge = Judge(given.pairs.cluster[given.measured], config.draws, config.control_seeds, config.seed)
        self.compared = bool((given.pairs.wrong[given.measured] >= 0).all())
        self.states = {state: self.judge.mean(values) for state, values in self.found.states.items()}
        self.named: dict[str, list[int]] = {}
        for index, order in enumerate(self.found.orders):
            self.named.setdefault(order.name, []).append(index)

    @property
    def size(self) -> dict[str, int]:
        """Prompts and clusters of the measuring half."""
        return {"n": self.judge.n, "n_clusters": self.judge.n_clusters}

    def _measures(self, difference: Estimate, accuracy: Estimate, at: int | None = None) -> dict[str, Any]:
        right = accuracy if self.compared else None
        return {**self.size, **ends("accuracy", right, at), **ends("difference", difference, at)}

    def reference(self) -> Iterator[dict[str, Any]]:
        """The untouched model, and what is left with all latents, the error, or both at the baseline."""
        for state in STATES:
            values = self.found.states[state]
            yield {
                **self.place,
                "baseline": self.given.baseline,
                "state": state,
                "n_latents": len(self.given.scores.latents),
                **self._measures(self.judge.mean(-values), self.judge.mean(is_right(values))),
            }

    def _metric(self, name: str, mode: str, error: str) -> Estimate:
        """Mean metric by count, over a control's draws."""
        return self.judge.mean_over_seeds([self.found.curves[at, mode, error] for at in self.named[name]])  # type: ignore[index]

    def _share(self, name: str, mode: str, error: str) -> Estimate | None:
        none, whole = self.states[NONE[error]], self.states[WHOLE[error]]
        ablated, kept = (none, whole) if mode == "ablate" else (whole, none)
        return share_of(self._metric(name, mode, error), ablated, kept)

    def curves(self, mode: str) -> Iterator[dict[str, Any]]:
        """Every ranking and control at every count."""
        share_name = {"ablate": "completeness", "keep": "faithfulness"}[mode]
        for error in self.config.errors if mode in self.config.modes else ():
            for name, members in self.named.items():
                order, judge = self.found.orders[members[0]], self.judge
                values = [self.found.curves[at, mode, error] for at in members]  # type: ignore[index]
                difference = judge.mean_over_seeds([-each for each in values])
                accuracy = judge.mean_over_seeds([is_right(each) for each in values])
                share = self._share(name, mode, error)
                spread = np.std([each.mean(axis=0) for each in values], axis=0, ddof=1) if len(values) > 1 else None
                for at, count in enumerate(order.counts):
                    yield {
                        **self.place,
                        "ranking": name,
                        "control": order.seed is not None,
                        "error": error,
                        "count": count,
                        **self._measures(difference, accuracy, at),
                        **ends(share_name, share, at),
                        "n_seeds": len(values),
                        "seed_sd": None if spread is None else number(spread[at]),
                    }

    def halves(self) -> Iterator[dict[str, Any]]:
        """How many latents bring completeness or faithfulness to one half."""
        for mode in self.config.modes:
            for error in self.config.errors:
                for name, members in self.named.items():
                    share = self._share(name, mode, error)
                    found: list[float | None] = [None, None, None]
                    if share is not None:
                        found = [*map(number, half_counts(share, self.found.orders[members[0]].counts))]
                    keys = ("half_count", "half_count_low", "half_count_high")
                    what = {"ranking": name, "mode": mode, "error": error}
                    yield {**self.place, **what, **dict(zip(keys, found, strict=True)), **self.size}

    def contrasts(self) -> Iterator[dict[str, Any]]:
        """Every ranking against every control, over the counts of both."""
        controls = [name for name, members in self.named.items() if self.found.orders[members[0]].seed is not None]
        for mode in self.config.modes:
            for error in self.config.errors:
                for name in (each for each in self.named if each not in controls):
                    for control in controls:
                        what = {"ranking": name, "against": control, "mode": mode, "error": error}
                        yield {**self.place, **what, **self._advantage(name, control, mode, error), **self.size}

    def _advantage(self, name: str, control: str, mode: str, error: str) -> dict[str, Any]:
        counts = [self.found.orders[self.named[each][0]].counts for each in (name, control)]
        common = sorted(set(counts[0]) & set(counts[1]))
        if not common:
            return {**ends("advantage", None), "n_counts": 0}
        parts = []
        for each, known in zip((name, control), counts, strict=True):
            at = [known.index(count) for count in common]
            metric = self._metric(each, mode, error)
            parts.append(Estimate(np.asarray(metric.value[at].mean()), metric.draws[:, at].mean(axis=1)))
        # A larger metric is a behaviour destroyed.
        advantage = parts[0].minus(parts[1]) if mode == "ablate" else parts[1].minus(parts[0])
        return {**ends("advantage", advantage), "n_counts": len(common)}

    def ranked(self) -> Iterator[dict[str, Any]]:
        """The first latents of every ranking."""
        scores, column = self.given.scores, self.column
        for order in self.found.orders:
            if order.seed is None:
                latents = order.latents[: self.config.top]
                columns = {"estimate": scores.effect, "norm_share": scores.norm_share, "activation": scores.activation}
                values = {key: scores.at(table, latents)[:, column] for key, table in columns.items()}
                shares = known_share(scores.at(scores.share, latents))[:, column]
                for rank, latent in enumerate(latents):
                    row = {"latent": int(latent), "ranking": order.name, "rank": rank, "share": number(shares[rank])}
                    yield {**self.place, **row, **{key: float(value[rank]) for key, value in values.items()}}

    def controls(self) -> Iterator[dict[str, Any]]:
        """What the first drawn latents have in common with as many of the first ranking; all drawn ones are all."""
        first = self.found.orders[0]
        for order in self.found.orders:
            if order.seed is not None:
                count = min(len(order.latents), max(self.config.top, 1))
                yield {
                    **self.place,
                    "against": order.name,
                    "seed": order.seed,
                    "n_latents": count,
                    **self._means("", order, count),
                    **self._means("_of_ranking", first, count),
                }

    def _means(self, suffix: str, order: Order, count: int) -> dict[str, float | None]:
        scores, latents = self.given.scores, order.latents[:count]
        tables = {"norm": scores.norm, "activation": scores.activation}
        return {
            f"{key}{suffix}": number(scores.at(table, latents)[:, self.column].mean()) if len(latents) else None
            for key, table in tables.items()
        }


def known_share(share: np.ndarray) -> np.ndarray:
    """RelIE, NaN where it is 0 in all sources."""
    return np.where(share.sum(axis=1, keepdims=True) > 0, share, np.nan)
