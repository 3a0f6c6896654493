"""How n-grams are estimated, and on how much text models are compared with them."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Config, Immaterial


class NgramsConfig(Config):
    """Does a snapshot predict more than unigrams, more than bigrams? The two stages of learning."""

    train_tokens: Annotated[int, Field(ge=1)] = 20_000_000
    """Tokens of training rows that the n-grams are counted on, in whole rows."""
    max_tokens: Annotated[int | None, Field(ge=1)] = 100_000
    """Held-out tokens that models predict, in whole rows; none means all of them."""
    unigram_prior: Annotated[float, Field(gt=0)] = 0.5
    """Added to the count of every token."""
    bigram_prior: Annotated[float | None, Field(gt=0)] = None
    """Weight, in tokens, of the unigram in every context; without it the power of two that predicts the training
    text best when each of its tokens is left out in turn."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the forward pass; probabilities are float32, sums float64."""
    model_batch: Annotated[int, Field(ge=1), Immaterial] = 8
    """Rows in one forward pass."""
