"""What one batch of a pass gives to everything that rides on it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder


@dataclass(frozen=True)
class LatentOrder:
    """The pairs of a batch sorted by latent: `pairs[pointer[i]:pointer[i + 1]]` are those of latent `latents[i]`."""

    pairs: Int[Tensor, " pair"]
    latents: Int[Tensor, " present"]
    pointer: Int[Tensor, " present_plus_1"]


@dataclass(frozen=True)
class LatentBatch:
    """Neighbouring tokens of a pass, in corpus order, with their codes.

    `codes` are sparse, in inference form and outside any graph. `columns` say where each token comes from; token i is
    token `first + i` of the pass, and of its code cache. `x` [token source_out d_model] are the activations in the
    normalised space, None where nothing that rides on the pass needs them; `skipped` [token source_in d_model] are
    those that a skip connection reads, None where there is none.
    """

    dictionary: Crosscoder
    codes: Codes
    columns: TokenColumns
    first: int
    x: Float[Tensor, "token source_out d_model"] | None = None
    skipped: Float[Tensor, "token source_in d_in"] | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens in the batch."""
        return self.codes.n_tokens

    @cached_property
    def recon(self) -> Float[Tensor, "token source_out d_model"]:
        """The reconstruction in the normalised space, gates and b_dec included, made once for all that need it."""
        return self.dictionary.decode_normalised(self.codes, self.skipped)

    @cached_property
    def by_latent(self) -> LatentOrder:
        """The pairs sorted by latent (then by token), sorted once for all that need it."""
        pairs, _, pointer = self.codes.by_latent
        latents = torch.nonzero(pointer.diff()).squeeze(1)
        return LatentOrder(pairs.long(), latents, torch.cat([pointer[:1], pointer[1:][latents]]).long())
