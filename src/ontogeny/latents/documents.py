"""Documents as clusters: standard errors that do not take a document's tokens for independent ones.

A ratio R = sum_c N_c / sum_c D_c over clusters c has se² = C / (C - 1) · sum_c (N_c - R D_c)² / (sum_c D_c)², with C
the clusters that hold anything (Cochran, Sampling Techniques, 3rd ed., eq. 6.13, sampling fraction 0).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, Shaped

from ontogeny.activations.stream import TokenColumns
from ontogeny.latents.blocks import LatentBlock


@dataclass(frozen=True)
class Documents:
    """The document of every token of a pass, numbered by first appearance; its corpus row where there is none."""

    of: Int[np.ndarray, " token"]
    n_tokens: Int[np.ndarray, " document"]

    @classmethod
    def from_columns(cls, columns: TokenColumns) -> "Documents":
        """The documents of these tokens."""
        named = np.where(columns.document >= 0, columns.document, columns.row)
        _, firsts, inverse = np.unique(named, return_index=True, return_inverse=True)
        rank = np.empty(len(firsts), dtype=np.int32)
        rank[np.argsort(firsts)] = np.arange(len(firsts), dtype=np.int32)
        of = rank[inverse]
        return cls(of, np.bincount(of, minlength=len(firsts)))

    @property
    def n_documents(self) -> int:
        """Documents that hold a token of the pass."""
        return len(self.n_tokens)

    @cached_property
    def in_order(self) -> bool:
        """Whether no document is taken up again after another: packed rows of one text, in corpus order."""
        return bool((np.diff(self.of) >= 0).all())


@dataclass(frozen=True)
class DocumentRuns:
    """The pairs of a block by (latent, document): run r is `order[starts[r]:starts[r + 1]]`.

    `order` None: they lie so already. `latents` and `documents` [run] say whose; runs ascend by latent, then document.
    """

    order: Int[np.ndarray, " pair"] | None
    starts: Int[np.ndarray, " run"]
    latents: Int[np.ndarray, " run"]
    documents: Int[np.ndarray, " run"]
    n_latents: int

    @classmethod
    def of_block(cls, block: LatentBlock, documents: Documents) -> "DocumentRuns":
        """The runs of a block."""
        latents, of, order = block.latents, documents.of[block.tokens], None
        if not documents.in_order:
            order = np.argsort(latents * documents.n_documents + of, kind="stable")
            latents, of = latents[order], of[order]
        new = np.ones(len(latents), dtype=bool)
        new[1:] = (latents[1:] != latents[:-1]) | (of[1:] != of[:-1])
        starts = np.flatnonzero(new)
        return cls(order, starts, latents[starts], of[starts], block.n_latents)

    def sums(self, values: Shaped[np.ndarray, " pair"]) -> Float[np.ndarray, " run"]:
        """The sum of a number per pair over every run, in float64."""
        if len(self.starts) == 0:
            return np.zeros(0)
        ordered = values if self.order is None else values[self.order]
        return np.add.reduceat(ordered.astype(np.float64), self.starts)

    def by_latent(self, values: Shaped[np.ndarray, " run"]) -> Float[np.ndarray, " latent"]:
        """The sum of a number per run over every latent's runs, in float64."""
        return np.bincount(self.latents, weights=values, minlength=self.n_latents).astype(np.float64, copy=False)

    @cached_property
    def n_runs(self) -> Int[np.ndarray, " latent"]:
        """Documents in which each latent is on."""
        return np.bincount(self.latents, minlength=self.n_latents)

    def ratio(
        self, numerator: Float[np.ndarray, " run"], denominator: Float[np.ndarray, " run"]
    ) -> tuple[Float[np.ndarray, " latent"], Float[np.ndarray, " latent"]]:
        """R and its standard error per latent over the documents in which it is on; NaN where there is none."""
        total = self.by_latent(denominator)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.by_latent(numerator) / total
            squares = self.by_latent((numerator - value[self.latents] * denominator) ** 2)
            return value, _standard_error(squares, self.n_runs, total)

    def share_of_tokens(
        self, numerator: Float[np.ndarray, " run"], n_tokens: Int[np.ndarray, " document"]
    ) -> tuple[Float[np.ndarray, " latent"], Float[np.ndarray, " latent"]]:
        """R = sum N / sum n_tokens and its standard error per latent over all documents that hold such tokens.

        Documents without a run count with N = 0. The standard error is NaN where the numerator is 0 everywhere: nothing
        was seen that could tell it.
        """
        total, filled = float(n_tokens.sum()), int((n_tokens > 0).sum())
        if total == 0:
            return np.full(self.n_latents, np.nan), np.full(self.n_latents, np.nan)
        summed = self.by_latent(numerator)
        value = summed / total
        sizes = n_tokens[self.documents].astype(np.float64)
        # Documents with a run as they are; of the others only R² n_tokens² remains.
        here = self.by_latent((numerator - value[self.latents] * sizes) ** 2)
        rest = np.maximum((n_tokens.astype(np.float64) ** 2).sum() - self.by_latent(sizes**2), 0)
        error = _standard_error(here + value**2 * rest, np.full(self.n_latents, filled), np.full(self.n_latents, total))
        return value, np.where(summed > 0, error, np.nan)


def _standard_error(
    squares: Float[np.ndarray, " latent"], clusters: Int[np.ndarray, " latent"], total: Float[np.ndarray, " latent"]
) -> Float[np.ndarray, " latent"]:
    """sqrt(C / (C - 1) · squares) / total; NaN with fewer than two clusters."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(clusters / (clusters - 1.0) * squares) / total
    return np.where((clusters > 1) & (total > 0), error, np.nan)
