"""What makes a latent the chat model's own, and how much text the baselines look at."""

from pydantic import Field

from ontogeny.config import Config


class BaseChatConfig(Config):
    """What did fine-tuning change? Latents of one model only, which survive latent scaling, and plain baselines."""

    base: str | None = None
    """The source before; without it the dictionary's first."""
    chat: str | None = None
    """The source after; without it the last one at the same hook point."""
    only_margin: float = Field(0.1, gt=0, lt=0.5)
    """Chat-only where delta_norm > 1 - this, base-only where it is below this, shared within this of 0.5."""
    absent_error: float = Field(0.2, gt=0)
    """An only-latent survives where nu_error in the other model is below this ..."""
    absent_reconstruction: float = Field(0.5, gt=0)
    """... and nu_reconstruction below this."""
    false_discoveries: float = Field(0.05, gt=0, lt=1)
    """Share of false discoveries allowed among those called so (Benjamini and Hochberg over all latents)."""
    min_tokens: int = Field(10, ge=1)
    """Held-out tokens that a latent must fire on to be tested."""
    kl_tokens: int = Field(20_000, ge=0)
    """Predicted held-out tokens on which both models are run and compared; 0 leaves the models closed."""
    first_tokens: int = Field(10, ge=1)
    """Tokens at the start of an answer that are reported apart."""
    examples: int = Field(20, ge=0)
    """Tokens of the largest divergence to show, one a document."""
    context_tokens: int = Field(12, ge=0)
    """Tokens of context before such a token (and half as many after it)."""
    components: int = Field(8, ge=0)
    """Principal components of the difference."""
    top_tokens: int = Field(10, ge=0)
    """Tokens that the logit lens shows of either sign."""
    model_batch: int = Field(8, ge=1)
    """Corpus rows in one forward pass."""
