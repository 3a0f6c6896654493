"""Products of tokens' gradients, kept apart by parameter group and layer, and the cosines they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.errors import AnalysisError, NonFiniteError


@dataclass(frozen=True)
class SketchError:
    """The error of cosines of sketches, foretold and measured against exact products of a sample of pairs."""

    n_numbers: int
    """Of a group's sketch."""
    n_pairs: int
    foretold: float
    """Root mean square of (1 − c²) / √n_numbers over the sample's exact cosines c."""
    measured: float
    """Root mean square of sketched less exact cosines."""
    largest: float

    def __str__(self) -> str:
        return (
            f"sketches of {self.n_numbers} numbers: error of a cosine {self.measured:.2g} (foretold {self.foretold:.2g}"
            f", largest {self.largest:.2g}) on {self.n_pairs} pairs"
        )

    @classmethod
    def compare(cls, n_numbers: int, exact: np.ndarray, sketched: np.ndarray) -> "SketchError":
        """Of the cosines [token token] of the same tokens, off the diagonal."""
        above = np.triu_indices(len(exact), 1)
        difference = (sketched - exact)[above]
        foretold = (1 - exact[above] ** 2) / np.sqrt(n_numbers)
        return cls(
            n_numbers,
            len(difference),
            _root_mean_square(foretold),
            _root_mean_square(difference),
            float(np.abs(difference).max(initial=0.0)),
        )


@dataclass(frozen=True)
class GradientGram:
    """g_i · g_j of tokens, a matrix [token token] for each (parameter group, layer or None); groups add up."""

    tokens: Int[np.ndarray, " token"]
    """Canonical indices."""
    products: dict[tuple[str, int | None], Float[np.ndarray, "token token"]]

    sketch_error: SketchError | None = None
    """Of products that are sketched."""

    def total(self, groups: Sequence[str] | None = None) -> Float[np.ndarray, "token token"]:
        """The sum over some groups, by default all there are; AnalysisError for one that is not there."""
        return _add_up(self.products, groups)

    def similarity(self, groups: Sequence[str] | None = None) -> Float[np.ndarray, "token token"]:
        """cos(g_i, g_j). NonFiniteError if a gradient is not finite or is zero: names the token."""
        total = self.total(groups)
        lengths = _lengths(self.tokens, np.diag(total), np.isfinite(total).all(axis=1))
        return np.asarray(total / lengths[:, None] / lengths[None])


@dataclass(frozen=True)
class CrossGram:
    """g_i · g_j of tokens with landmarks, a matrix [token landmark] for each (parameter group, layer or None)."""

    tokens: Int[np.ndarray, " token"]
    """Canonical indices."""
    landmarks: Int[np.ndarray, " landmark"]
    products: dict[tuple[str, int | None], Float[np.ndarray, "token landmark"]]
    token_squares: dict[tuple[str, int | None], Float[np.ndarray, " token"]]
    """g · g."""
    landmark_squares: dict[tuple[str, int | None], Float[np.ndarray, " landmark"]]

    def similarity(self, groups: Sequence[str] | None = None) -> Float[np.ndarray, "token landmark"]:
        """cos(g_i, g_j). Errors: as `GradientGram.total` and `GradientGram.similarity`."""
        total = _add_up(self.products, groups)
        rows = _lengths(self.tokens, _add_up(self.token_squares, groups), np.isfinite(total).all(axis=1))
        columns = _lengths(self.landmarks, _add_up(self.landmark_squares, groups), np.isfinite(total).all(axis=0))
        return np.asarray(total / rows[:, None] / columns[None])


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0


def _add_up(parts: Mapping[tuple[str, int | None], np.ndarray], groups: Sequence[str] | None) -> np.ndarray:
    there = dict.fromkeys(group for group, _ in parts)
    for group in groups or ():
        if group not in there:
            raise AnalysisError(f"there are no gradients of parameter group {group!r}; there are {', '.join(there)}.")
    wanted = set(groups or there)
    return np.asarray(sum(each for (group, _), each in parts.items() if group in wanted))


def _lengths(
    tokens: Int[np.ndarray, " token"], squares: Float[np.ndarray, " token"], finite: Bool[np.ndarray, " token"]
) -> Float[np.ndarray, " token"]:
    """|g|; NonFiniteError names the first token of which it is zero or not finite."""
    bad = np.flatnonzero(~finite | ~np.isfinite(squares) | (squares <= 0))
    if len(bad):
        raise NonFiniteError(
            f"the gradient of the token of canonical index {tokens[bad[0]]} has squared length {squares[bad[0]]:g} or "
            "products that are not finite; leave that token out."
        )
    return np.asarray(np.sqrt(squares))
