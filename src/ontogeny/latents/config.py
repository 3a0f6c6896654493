"""How the one pass over codes is made."""

from typing import Annotated

from pydantic import Field

from ontogeny.config import Config, Immaterial


class CodesConfig(Config):
    """The pass over held-out text that all analyses share, and the cache of codes that it leaves."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Held-out tokens to encode; without it all of them."""
    batch_size: Annotated[int, Immaterial] = Field(default=2_048, ge=1)
    """Tokens encoded at a time."""
