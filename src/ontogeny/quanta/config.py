"""Which tokens are clustered."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Config


class TokenChoice(Config):
    """Well-predicted tokens that copying does not explain; defaults as published."""

    below: Annotated[float, Field(gt=0)] = 0.1
    """Loss in nats that a token must be under (0.1 nats are 0.144 bits)."""
    leave_out: tuple[Literal["unigram", "bigram", "trigram"], ...] = ("trigram",)
    """Tokens that ended such an n-gram earlier in their document."""
    every: Annotated[int, Field(ge=1)] = 50
    """Of the tokens left, every k-th in canonical order."""
    n_tokens: Annotated[int, Field(ge=2)] = 10_000
    """How many are taken."""
    by: Literal["order", "token"] = "order"
    """`order`: the first of them; `token`: as evenly over predicted token ids as they last, at random."""
    seed: int = 0
    """Of the draw by token."""
