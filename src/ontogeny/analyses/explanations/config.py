"""Which endpoint is asked, about which latents, with how many examples; torch-free."""

from typing import Annotated

from pydantic import Field, field_validator

from ontogeny.config import Config, Immaterial


class ExplanationsConfig(Config):
    """Explanations of latents by a language model behind an OpenAI-compatible endpoint, and scores of them."""

    base_url: str = Field(min_length=1)
    """Where the endpoint is, up to /chat/completions: "http://127.0.0.1:8000/v1", "https://api.example.com/v1"."""
    model: str = Field(min_length=1)
    """Name of the model, as the endpoint knows it."""
    api_key_env: Annotated[str | None, Immaterial] = None
    """Environment variable that holds the endpoint's key; unset: no key is sent."""
    latents: tuple[int, ...] = ()
    """Latents to explain; without any, `n_latents` are drawn."""
    n_latents: int = Field(50, ge=1)
    """Latents drawn at random among those that fire enough."""
    min_active: int = Field(20, ge=2)
    """Held-out tokens a latent must fire on to be drawn."""
    shown: int = Field(12, ge=2)
    """Examples an explanation is made from: half the strongest ones, half from the whole range, one a document."""
    scored: int = Field(10, ge=2)
    """Examples on which it is scored, from other documents, over the whole range; as many without the latent."""
    before: int = Field(24, ge=1)
    """Tokens of context before the marked token."""
    after: int = Field(8, ge=0)
    """Tokens of context behind it."""
    mark_share: float = Field(0.2, gt=0, lt=1)
    """Tokens are marked where the latent's code is at least this share of its largest."""
    temperature: float = Field(0.0, ge=0)
    """Sampling temperature."""
    max_reply_tokens: int = Field(400, ge=32)
    """Longest reply."""
    seed: int = Field(0, ge=0)
    """Seed of the draws, and sent with every request."""
    max_prompt_tokens: int | None = Field(None, ge=1)
    """Refuse to begin where the estimate of all prompts is above this; unset: no limit."""
    workers: Annotated[int, Immaterial] = Field(4, ge=1, le=64)
    """Requests under way at a time."""
    requests_per_minute: Annotated[float | None, Immaterial] = Field(None, gt=0)
    """Most requests a minute; unset: as fast as the endpoint answers."""
    timeout: Annotated[float, Immaterial] = Field(60.0, gt=0)
    """Seconds to wait for a reply."""
    retries: Annotated[int, Immaterial] = Field(5, ge=0)
    """How often a request is sent again after a timeout, an overload or an unreadable reply."""
    first_wait: Annotated[float, Immaterial] = Field(1.0, ge=0)
    """Seconds before the first repetition; doubled each time, unless the endpoint says how long."""

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("give a URL that begins with http:// or https://")
        return value.rstrip("/")
