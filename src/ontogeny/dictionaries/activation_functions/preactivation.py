"""The encoder's one matmul, as an activation function sees it: scores to choose by, values with gradients to keep."""

from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ontogeny.dictionaries.codes import Codes, SourceGate
from ontogeny.dictionaries.dense import DenseTable, plain_table
from ontogeny.dictionaries.product import multiply, multiply_into
from ontogeny.dictionaries.sparse import Pattern, encode_active

SPARSE_BELOW = 0.05
"""Share of active pairs under which sparse products are cheaper than dense ones (measured on CPU)."""


class KeptTable:
    """One [token latent] table kept from training step to step; on a CPU a fresh one costs 0.1 matmul of page faults.

    Whoever takes it overwrites what the one before left there, so nothing that outlives a step may point into it. Small
    tables are not worth the memory between two steps.
    """

    worth = 32 << 20
    """Bytes from which a table is kept; the allocator maps blocks of that size anew each time."""

    def __init__(self) -> None:
        self._table: Tensor | None = None
        self._weights: Tensor | None = None

    def take(self, n_tokens: int, n_latents: int, like: Tensor) -> Float[Tensor, "token latent"]:
        """The table, made anew where the shape or the number format has changed."""
        if n_tokens * n_latents * like.element_size() < self.worth:
            return like.new_empty(n_tokens, n_latents)
        table = self._table
        if table is None or table.shape != (n_tokens, n_latents) or table.dtype != like.dtype:
            table = self._table = like.new_empty(n_tokens, n_latents)
        return table

    def take_weights(self, like: Float[Tensor, "latent width"]) -> Float[Tensor, "latent width"]:
        """Room for weights folded with their norms: kept where a table is."""
        if self._table is None:
            return torch.empty_like(like)
        weights = self._weights
        if weights is None or weights.shape != like.shape or weights.dtype != like.dtype:
            weights = self._weights = torch.empty_like(like)
        return weights


class Preactivation:
    """pre = x W_encᵀ + b_enc [token latent] over the flattened (source · d_model) axis, and score = pre · norm.

    `norms` [latent source] and `norm` [latent] (None: all 1) are the decoder norms the gate works with; they carry no
    gradient. The norm is folded into the weights, or into the table of scores where that is the smaller one.
    """

    def __init__(
        self,
        x: Float[Tensor, "token width"],
        W_enc: Float[Tensor, "latent width"],
        b_enc: Float[Tensor, " latent"],
        norms: Float[Tensor, "latent source"],
        norm: Float[Tensor, " latent"] | None,
        kept_table: KeptTable | None = None,
    ) -> None:
        self.x, self.W_enc, self.b_enc = x, W_enc, b_enc
        self.norms, self.norm = norms, norm
        self.kept_table = kept_table

    @property
    def n_tokens(self) -> int:
        return self.x.shape[0]

    @property
    def n_latents(self) -> int:
        return self.W_enc.shape[0]

    @cached_property
    def scores(self) -> Float[Tensor, "token latent"]:
        """pre · norm, without gradient."""
        with torch.no_grad():
            if self.norm is None:
                return self._table(self.W_enc, self.b_enc)
            if self.n_tokens < self.x.shape[1]:
                return self._table(self.W_enc, self.b_enc).mul_(self.norm)
            room = None if self.kept_table is None else self.kept_table.take_weights(self.W_enc.detach())
            return self._table(torch.mul(self.W_enc, self.norm[:, None], out=room), self.b_enc * self.norm)

    def _table(self, W: Float[Tensor, "latent width"], b: Float[Tensor, " latent"]) -> Float[Tensor, "token latent"]:
        if self.kept_table is None or self.x.device.type != "cpu":
            return multiply(self.x, W, b)  # autocast sees no product that is written into a given table
        return multiply_into(self.kept_table.take(self.n_tokens, self.n_latents, self.x), self.x, W, b)

    @cached_property
    def raw(self) -> Float[Tensor, "token latent"]:
        """pre, without gradient."""
        with torch.no_grad():
            return multiply(self.x, self.W_enc, self.b_enc)

    @cached_property
    def sample(self) -> Float[Tensor, "row latent"]:
        """pre of some tokens, without gradient: enough to see how many latents are on."""
        with torch.no_grad():
            return multiply(self.x[:64], self.W_enc, self.b_enc)

    @cached_property
    def dense(self) -> Float[Tensor, "token latent"]:
        """pre, with gradient: for codes that are not sparse."""
        return linear(self.x, self.W_enc, self.b_enc)

    def table(self) -> DenseTable:
        """pre as a table without gates: for what is asked of all pairs while the codes are sparse."""
        return plain_table(self.x, self.W_enc, self.b_enc, self.raw)

    def kept_scores(self, scores: Float[Tensor, " pair"], pattern: Pattern) -> Float[Tensor, " pair"]:
        """The pre-activations, with gradient, at pairs whose scores are known."""
        if self.norm is None:
            return self.kept(scores, pattern)
        # A latent that writes nothing has the score 0, which hides its pre-activation: it counts as 0, and not as 0/0.
        norm = self.norm.clamp_min(torch.finfo(self.norm.dtype).tiny)
        return self.kept(scores / norm.index_select(0, pattern.indices), pattern)

    def kept(self, values: Float[Tensor, " pair"], pattern: Pattern) -> Float[Tensor, " pair"]:
        """The pre-activations, with gradient, at pairs whose pre-activations are known."""
        return encode_active(self.x, self.W_enc, self.b_enc, values.to(self.x.dtype), pattern)

    def sparse_pays(self, mask_rows: Float[Tensor, "row latent"]) -> bool:
        """Whether few enough of these sampled rows are positive for sparse products to pay."""
        return bool((mask_rows > 0).float().mean() < SPARSE_BELOW)


def keep_above(pre: Preactivation, cut: Float[Tensor, "..."], per: Literal["source", "token"]) -> Codes:
    """The codes that exceed a cut, per source [source] or per token and source [token source], in some source."""
    union = torch.zeros_like(pre.raw, dtype=torch.bool)
    for source in range(pre.norms.shape[1]):
        union |= pre.raw * pre.norms[:, source] > (cut[source] if per == "source" else cut[:, source, None])
    tokens, latents = torch.nonzero(union, as_tuple=True)
    pattern = Pattern.from_pairs(tokens, latents, pre.n_tokens, pre.n_latents)
    return Codes(pre.kept(pre.raw[tokens, latents], pattern), pre.norms, pattern, SourceGate(pre.norms, cut, per))
