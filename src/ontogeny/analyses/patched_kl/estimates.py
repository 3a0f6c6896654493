"""What the sums say: means with errors over documents, the share of the gap that a patch closes, what two differ by."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ontogeny.analyses.patched_kl.measure import PatchedSums
from ontogeny.latents.clusters import ClusterSums, draw_weights, percentile_interval


@dataclass(frozen=True)
class Estimates:
    """Estimates of every patch in every group; documents are the clusters. NaN where missing.

    `gap`: place of the patch whose KL a closed share is quoted of, base by itself. A share of less than `min_gap` nats
    is missing.
    """

    sums: PatchedSums
    gap: int
    min_gap: float
    draws: int
    seed: int

    def count(self, group: int) -> dict[str, float]:
        """n: predictions; n_documents: documents with any."""
        size = self._size(group)
        return {"n": float(size.sum()), "n_documents": float(len(size))}

    def mean(self, group: int, patch: int, patched: int) -> dict[str, float]:
        """Mean KL and cross-entropy with standard errors; what is closed of the gap, and of the KL of `patched`."""
        size = self._size(group)
        out = self.count(group)
        for name, table in (("kl", self.sums.kl), ("ce", self.sums.ce)):
            found = ClusterSums(self._of(table, group, patch), size)
            out |= {name: float(found.mean), f"{name}_se": float(found.se)}
        low, high = percentile_interval(self._closed_draws(group, patch, self.gap))
        for name, against in (("closed", self.gap), ("closed_patched", patched)):
            share, error = self._closed(group, patch, against)
            out |= {name: share, f"{name}_se": error}
        missing = np.isnan(out["closed"])
        out |= {"closed_low": np.nan if missing else float(low), "closed_high": np.nan if missing else float(high)}
        return out

    def contrast(self, group: int, patch: int, others: list[int]) -> dict[str, float]:
        """What a patch closes of the gap more than others do on average, with its interval over the same draws."""
        closed = [self._closed(group, each, self.gap)[0] for each in (patch, *others)]
        draws = [self._closed_draws(group, each, self.gap) for each in (patch, *others)]
        low, high = percentile_interval(draws[0] - np.mean(draws[1:], axis=0))
        names = ("difference", "difference_low", "difference_high")
        if np.isnan(closed[0]):
            return dict.fromkeys(names, np.nan)
        return dict(zip(names, (float(closed[0] - np.mean(closed[1:])), float(low), float(high)), strict=True))

    @cached_property
    def _weights(self) -> Float[np.ndarray, "draw document"]:
        return draw_weights(self.sums.count.shape[1], self.draws, self.seed)

    def _filled(self, group: int) -> np.ndarray:
        return np.asarray(self.sums.count[group] > 0)

    def _size(self, group: int) -> Float[np.ndarray, " document"]:
        return self.sums.count[group, self._filled(group)]

    def _of(
        self, table: Float[np.ndarray, "patch group document"], group: int, patch: int
    ) -> Float[np.ndarray, " document"]:
        return table[patch, group, self._filled(group)]

    def _closed(self, group: int, patch: int, against: int) -> tuple[float, float]:
        """1 - sum KL / sum KL of `against`, and its standard error."""
        gap = self._of(self.sums.kl, group, against)
        if gap.sum() < self.min_gap * self._size(group).sum():
            return np.nan, np.nan
        found = ClusterSums(self._of(self.sums.kl, group, patch), gap)
        return 1 - float(found.mean), float(found.se)

    def _closed_draws(self, group: int, patch: int, against: int) -> Float[np.ndarray, " draw"]:
        filled = self._filled(group)
        if filled.sum() < 2:
            return np.full(self.draws, np.nan)  # one document says nothing of how documents differ
        weights = self._weights[:, filled]
        over, under = (weights @ self._of(self.sums.kl, group, each) for each in (patch, against))
        return 1 - np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)
