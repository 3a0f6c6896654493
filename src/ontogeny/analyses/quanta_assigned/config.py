"""What is asked of tokens that were not clustered; torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Config, Immaterial


class QuantaAssignedConfig(Config):
    """Which tokens are put to the quanta, at which snapshot, and what it takes to be put there."""

    snapshot: str | None = None
    """Label of one at which tokens were clustered; the last of them without it."""
    below: Annotated[float | None, Field(gt=0)] = None
    """Loss in nats that a token must be under at the snapshot by which tokens were chosen; none means any."""
    leave_out: tuple[Literal["unigram", "bigram", "trigram"], ...] = ()
    """Tokens left out that ended such an n-gram earlier in their document."""
    every: Annotated[int, Field(ge=1)] = 1
    """Of the tokens left, every k-th in canonical order."""
    n_tokens: Annotated[int, Field(ge=1)] = 10_000
    """Most tokens; of more, as many evenly over the text."""
    rule: Literal["mean", "embedding"] | None = None
    """Highest mean cosine with a quantum's landmarks, or nearest mean in their spectral embedding (Nyström); without it
    the embedding for clusters of the regularised affinity and the mean for others."""
    min_landmarks: Annotated[int, Field(ge=2)] = 2
    """Clustered tokens that a quantum must have to be given others."""
    min_cosine: Annotated[float | None, Field(ge=-1, le=1)] = None
    """Mean cosine with the landmarks of its quantum that a token must reach; without it, for each quantum, what a share
    `keep` of its held-out landmarks reach that came back to it, and no more than 1 − `keep` of the others."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """That share."""
    min_margin: Annotated[float | None, Field(ge=0)] = None
    """By how much the best quantum must beat the second; without it, from where a share `precision` of the held-out
    landmarks is right."""
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """That share."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of documents in which landmarks are held out."""
    draws: Annotated[int, Field(ge=2)] = 200
    """Bootstrap draws of documents for intervals."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of intervals."""
    seed: int = 0
    """Of folds, shuffled labels and draws."""
    chunk: Annotated[int | None, Field(ge=1), Immaterial] = None
    """Tokens compared at a time; each chunk makes the landmarks' gradients again. Without it four times as many as
    landmarks, as far as a third of `quanta.gram.memory` goes."""
