"""Which tokens are clustered."""

import typing
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ontogeny.config import Config, Immaterial


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


Group = Literal[
    "attention.weight",
    "attention.bias",
    "mlp.weight",
    "mlp.bias",
    "block_norms",
    "final_norm",
    "embeddings",
    "unembedding",
]
GROUPS: tuple[Group, ...] = typing.get_args(Group)
PUBLISHED: tuple[Group, ...] = ("attention.weight", "attention.bias", "mlp.weight", "mlp.bias", "final_norm")
"""All names with neither "layernorm" nor "embed" in a GPT-NeoX."""
TABLES: tuple[Group, ...] = ("embeddings", "unembedding")
"""Of vocabulary size, and never written out."""


class GramConfig(Config):
    """Products of per-token gradients: of which parameters, and in which precision."""

    groups: tuple[Group, ...] | None = None
    """Parameter groups, each with a matrix of its own; without it what is published, as far as the model has it."""
    by_layer: bool = False
    """A matrix for every layer of every group."""
    entries: Literal["signed", "absolute", "sparse"] = "signed"
    """What of a gradient is compared: itself, |g| entry by entry, or g / |g| without entries under `threshold`."""
    threshold: Annotated[float, Field(gt=0)] = 7e-3
    """Sparse: the least share of |g| that an entry must have; as published."""
    whitening: Literal["none", "adam", "kronecker"] = "none"
    """Adam: g / √(v + damping · mean v), v the optimizer's second moment where the snapshot has it, else the mean of g²
    over the tokens. Kronecker: B^-½ G A^-½ of every linear map, A of its inputs, B of the gradients at its outputs."""
    damping: Annotated[float, Field(gt=0)] = 0.1
    """Added to second moments in whitening, in units of their mean."""
    sketch: Annotated[int | None, Field(ge=2)] = None
    """Numbers that a group's gradient is hashed to; cosines then have an error of about (1 − c²) / √sketch."""
    storage: Literal["float32", "bfloat16", "model"] = "model"
    """Number format of gradients; `model` is what the model computes in."""
    accumulate: Literal["float32", "float64"] = "float64"
    """Number format of the matrices, to which products of some hundred columns are added."""
    batch_tokens: Annotated[int, Field(ge=1), Immaterial] = 2048
    """Tokens of one forward, padding counted."""
    memory: Annotated[float, Field(gt=0), Immaterial] = 4.0
    """GB for matrices, gradients and residuals; residuals go to disk where that leaves too little for gradients."""

    @model_validator(mode="after")
    def _tables_as_they_are(self) -> "GramConfig":
        tables = [group for group in self.groups or () if group in TABLES]
        changed = self.entries != "signed" or self.whitening != "none" or self.sketch is not None
        if tables and changed:
            raise ValueError(
                f"groups has {tables[0]!r}, which is compared as it is; leave it out, or entries, whitening and sketch"
            )
        return self
