"""What is asked of clusters of tokens; torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Config


class QuantaReportConfig(Config):
    """Of every quantum: its tokens, its loss over snapshots, when it emerged, how sure that is, what it was before."""

    emergence_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A quantum emerges when this share of its mean loss's fall, from the first snapshot to the lowest, is done."""
    emergence_loss: Annotated[float | None, Field(gt=0)] = None
    """Emergence at this mean loss in nats instead."""
    draws: Annotated[int, Field(ge=2)] = 200
    """Bootstrap draws of documents for intervals."""
    stability_draws: Annotated[int, Field(ge=0)] = 20
    """Draws of documents that are clustered anew for the stability of each quantum; 0 leaves it out."""
    membership: bool = True
    """Shares of each token in all clusters beside its one label."""
    samples: Annotated[int | None, Field(ge=1)] = None
    """Most tokens of a quantum that are listed, the most central first; none means all."""
    before: Annotated[int, Field(ge=0)] = 60
    """Tokens of context shown before each."""
    after: Annotated[int, Field(ge=0)] = 10
    """Tokens shown after it."""
    neighbours: Annotated[int, Field(ge=0)] = 5
    """Nearest quanta listed of each."""
    envelope_counts: tuple[Annotated[int, Field(ge=1)], ...] = (*range(10, 100, 10), *range(100, 301, 25), 350)
    """Numbers of clusters of the rank-frequency envelope (published: up to 1,500); an empty list leaves it out."""
    envelope_ranks: tuple[int, int] | None = None
    """Ranks of the fit, as published 100 to 1,000; without it a decade that ends at two thirds of those there are."""
    envelope_draws: Annotated[int, Field(ge=0)] = 10
    """Draws of documents for the interval of the envelope's slope, and of planted clusters for its bias."""
    envelope_method: Literal["regularised", "angular", "linkage"] = "linkage"
    """Way to cluster for the envelope; of average linkage one tree gives all numbers."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of intervals."""
    seed: int = 0
    """Of draws."""
