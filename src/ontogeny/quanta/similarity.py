"""Products of tokens' gradients, kept apart by parameter group and layer, and the cosines they make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.errors import AnalysisError, NonFiniteError


@dataclass(frozen=True)
class GradientGram:
    """g_i · g_j of tokens, a matrix [token token] for each (parameter group, layer or None); groups add up."""

    tokens: Int[np.ndarray, " token"]
    """Canonical indices."""
    products: dict[tuple[str, int | None], Float[np.ndarray, "token token"]]

    def total(self, groups: Sequence[str] | None = None) -> Float[np.ndarray, "token token"]:
        """The sum over some groups, by default all there are; AnalysisError for one that is not there."""
        there = dict.fromkeys(group for group, _ in self.products)
        for group in groups or ():
            if group not in there:
                raise AnalysisError(
                    f"there are no gradients of parameter group {group!r}; there are {', '.join(there)}."
                )
        wanted = set(groups or there)
        return np.asarray(sum(each for (group, _), each in self.products.items() if group in wanted))

    def similarity(self, groups: Sequence[str] | None = None) -> Float[np.ndarray, "token token"]:
        """cos(g_i, g_j). NonFiniteError if a gradient is not finite or is zero: names the token."""
        total = self.total(groups)
        squares = np.diag(total)
        bad = np.flatnonzero(~np.isfinite(total).all(axis=1) | (squares <= 0))
        if len(bad):
            raise NonFiniteError(
                f"the gradient of the token of canonical index {self.tokens[bad[0]]} has squared length "
                f"{squares[bad[0]]:g} or products that are not finite; leave that token out."
            )
        lengths = np.sqrt(squares)
        return np.asarray(total / lengths[:, None] / lengths[None])
