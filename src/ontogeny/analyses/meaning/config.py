"""What is asked of latents' meaning; torch-free."""

from typing import Annotated

from pydantic import Field

from ontogeny.config import Config, Immaterial


class MeaningConfig(Config):
    """What latents promote, what they are on, how far back they look, and how complex that makes them."""

    top: int = Field(10, ge=0)
    """Tokens listed at either end of a latent's direct effect on the logits; 0 leaves logit effects out."""
    scale_rows: int = Field(8, ge=1)
    """Held-out rows from which the scale of each snapshot's final norm is taken."""
    min_active: int = Field(10, ge=2)
    """Tokens that a latent must be on for its n-gram explainability, its span and its complexity to be told."""
    span_latents: int = Field(128, ge=0)
    """Latents, drawn at random, whose span of dependence is measured; 0 leaves it out. It needs the models."""
    span_of: tuple[int, ...] = ()
    """Latents whose span is measured whatever the draw."""
    span_examples: int = Field(4, ge=1)
    """Strongest examples, one a document, on which a span is measured."""
    max_span: int = Field(64, ge=2)
    """Longest context tried, in tokens; contexts double from 1 up to it, and the whole row is tried last."""
    recovered: float = Field(0.9, gt=0, le=1)
    """A context is long enough if this share of the activation in the whole row is back."""
    seed: int = Field(0, ge=0)
    """Seed of the draw of latents."""
    model_batch: Annotated[int, Immaterial] = Field(64, ge=1)
    """Contexts in one forward pass."""
