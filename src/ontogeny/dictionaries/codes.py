"""Codes: what a dictionary says of each token, kept sparse, shared by all sources; the gates are derived."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.dictionaries.dense import DenseTable
from ontogeny.dictionaries.elementwise import jump_gate
from ontogeny.dictionaries.sparse import Pattern, decode_active, latent_sums

_ROWS = 128


@dataclass(frozen=True)
class SourceGate:
    """A latent is on in a source where value · norm > cut; the cut is per latent, per source or per token and source.

    `window` is set where the cut is learned by the straight-through estimate (JumpReLU).
    """

    norms: Float[Tensor, "latent source"]
    cut: Float[Tensor, "..."]
    per: Literal["latent", "source", "token"]
    window: float | None = None


@dataclass(frozen=True)
class Codes:
    """One value per (token, latent), shared by all sources.

    Sparse: `pattern` says which pairs, `values` [pair] their values. Where too many are active for that to pay, the
    values are one dense table [token latent] and `pattern` is None until asked for. The values are ungated; with a
    gate per source the pairs are the union over the sources. `norms` are the decoder norms in the normalised space.
    `table` knows cheaper gradients for `times`, `means` and `tanh_means` of dense values while they are in a graph.
    """

    values: Float[Tensor, "..."]
    norms: Float[Tensor, "latent source"]
    pattern: Pattern | None = None
    source_gate: SourceGate | None = None
    table: DenseTable | None = None

    @staticmethod
    def concatenate(parts: "Sequence[Codes]") -> "Codes":
        """The tokens of several sparse codes of one dictionary, one after the other."""
        first, gate = parts[0], parts[0].source_gate
        if len(parts) == 1:
            return first
        starts = [0, *accumulate(len(each.indices) for each in parts)]
        pointers = [each.row_pointer[1:] + start for each, start in zip(parts, starts, strict=False)]
        indices = torch.cat([each.indices for each in parts])
        pattern = Pattern(indices, torch.cat([first.row_pointer[:1], *pointers]), first.n_latents)
        if gate is not None and gate.per == "token":
            gate = replace(gate, cut=torch.cat([each.source_gate.cut for each in parts if each.source_gate]))
        return Codes(torch.cat([each.values for each in parts]), first.norms, pattern, gate)

    @property
    def is_dense(self) -> bool:
        return self.pattern is None

    @property
    def n_tokens(self) -> int:
        return self.values.shape[0] if self.pattern is None else self.pattern.n_tokens

    @property
    def n_latents(self) -> int:
        return self.norms.shape[0]

    @property
    def n_sources(self) -> int:
        return self.norms.shape[1]

    @property
    def indices(self) -> Int[Tensor, " pair"]:
        """The latent of every pair (sparse codes; see `sparse`)."""
        return self._pattern().indices

    @property
    def row_pointer(self) -> Int[Tensor, " token_plus_1"]:
        """Token t's pairs are `row_pointer[t]:row_pointer[t + 1]`."""
        return self._pattern().row_pointer

    @property
    def tokens(self) -> Int[Tensor, " pair"]:
        """The token of every pair."""
        return self._pattern().tokens

    @property
    def by_latent(self) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Int[Tensor, " latent_plus_1"]]:
        """The order that sorts the pairs by latent, their tokens in it, and each latent's segment of it."""
        return self._pattern().by_latent

    def _pattern(self) -> Pattern:
        assert self.pattern is not None, "these codes are dense; call .sparse() first"
        return self.pattern

    def _spread(self, per_latent: Float[Tensor, " latent"]) -> Float[Tensor, " n"]:
        """A quantity per latent, so that it multiplies the values."""
        return per_latent if self.pattern is None else per_latent.index_select(0, self.pattern.indices)

    def _cut(self, gate: SourceGate, source: int) -> Tensor:
        if gate.per == "latent":
            return self._spread(gate.cut)
        if gate.per == "source":
            return gate.cut[source]
        column = gate.cut[:, source]
        return column[:, None] if self.pattern is None else column.index_select(0, self.pattern.tokens)

    def gate(self, source: int) -> Bool[Tensor, "..."]:
        """Where the code is on in `source`, per pair (per token and latent for dense codes)."""
        if self.source_gate is None:
            return self.values > 0
        return self.values * self._spread(self.source_gate.norms[:, source]) > self._cut(self.source_gate, source)

    def gated(self, source: int) -> Float[Tensor, "..."]:
        """The values where they are on in `source`, 0 elsewhere; differentiable, in a learned cut too."""
        gate = self.source_gate
        if gate is None:
            return self.values
        if gate.window is not None:
            norm = self._spread(gate.norms[:, source])
            return jump_gate(self.values, self._cut(gate, source), norm, gate.window)
        return self.values * self.gate(source)

    def on(self) -> Bool[Tensor, "..."]:
        """Where the code is on in any source."""
        if self.source_gate is None:
            return self.values > 0
        mask = self.gate(0)
        for source in range(1, self.n_sources):
            mask = mask | self.gate(source)
        return mask

    def contribution(self, source: int) -> Float[Tensor, "..."]:
        """value · ||W_dec[j, source]|| where the gate of `source` is on: how much of the latent that source gets."""
        return self.gated(source) * self._spread(self.norms[:, source])

    def l0(self, source: int | None = None) -> Int[Tensor, " token"]:
        """Latents that are on per token: in any source, or in the one given."""
        if self.pattern is None:
            return torch.cat([mask.sum(1) for mask in self._dense_masks(source)])
        mask = self.on() if source is None else self.gate(source)
        return torch.zeros_like(self.row_pointer[:-1]).index_add_(0, self.tokens, mask.long())

    def counts(self, source: int | None = None) -> Int[Tensor, " latent"]:
        """Tokens on which each latent is on: in any source, or in the one given."""
        if self.pattern is None:
            return torch.stack([mask.sum(0) for mask in self._dense_masks(source)]).sum(0)
        mask = self.on() if source is None else self.gate(source)
        return torch.bincount(self.indices[mask], minlength=self.n_latents)

    def _dense_masks(self, source: int | None) -> Iterator[Bool[Tensor, "row latent"]]:
        """Where a dense code is on, some rows at a time: counting makes 8 bytes of every pair."""
        for start in range(0, max(self.n_tokens, 1), _ROWS):
            rows, gate = slice(start, start + _ROWS), self.source_gate
            if gate is not None and gate.per == "token":
                gate = replace(gate, cut=gate.cut[rows])
            part = Codes(self.values[rows], self.norms, source_gate=gate)
            yield part.on() if source is None else part.gate(source)

    def means(self, source: int) -> Float[Tensor, " latent"]:
        """The mean over tokens of the values that are on in `source`."""
        if self.table is not None:
            return self.table.means(self._gate_number(source))
        return self._token_means(self.gated(source))

    def tanh_means(self, source: int, scale: Float[Tensor, " latent"]) -> Float[Tensor, " latent"]:
        """The mean over tokens of tanh(value · scale) for the values that are on in `source`; no scale is negative."""
        if self.table is not None:
            return self.table.tanh_means(self._gate_number(source), scale)
        return self._token_means(torch.tanh(self.scale_by(scale, self.gated(source))))

    def _gate_number(self, source: int) -> int:
        return 0 if self.source_gate is None else source

    def _token_means(self, values: Float[Tensor, "..."]) -> Float[Tensor, " latent"]:
        return (values.sum(0) if self.pattern is None else latent_sums(values, self.pattern)) / self.n_tokens

    def scale_by(self, per_latent: Float[Tensor, " latent"], values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A quantity like `values` times one per latent."""
        return values * self._spread(per_latent)

    def times(self, weight: Float[Tensor, "latent source width"]) -> Float[Tensor, "token source width"]:
        """sum_j f_tj gate_tjs weight_js, with only the pairs that there are."""
        if self.table is not None:
            return self.table.times(weight)
        if self.source_gate is None:
            return self._product(self.values, weight)
        # Source by source, so that nothing is as large as [token source latent].
        parts = [self._product(self.gated(source), own.contiguous()) for source, own in enumerate(weight.unbind(1))]
        return torch.stack(parts, 1)

    def _product(
        self, values: Float[Tensor, "..."], weight: Float[Tensor, "latent *shape"]
    ) -> Float[Tensor, "token *shape"]:
        if self.pattern is not None:
            return decode_active(values, weight, self.pattern)
        return (values @ weight.flatten(1)).unflatten(1, weight.shape[1:])

    def dense(self, source: int | None = None) -> Float[Tensor, "token latent"]:
        """The table [token latent]: values that are on in any source, or in the one given."""
        values = self.values * (self.on() if source is None else self.gate(source))
        if self.pattern is None:
            return values
        table = values.new_zeros(self.n_tokens, self.n_latents)
        return table.index_put((self.tokens, self.indices), values)

    def sparse(self) -> "Codes":
        """The same codes with only the pairs that are on somewhere, without their gradients."""
        mask = self.on()
        if self.pattern is None:
            tokens, indices = torch.nonzero(mask, as_tuple=True)
            pattern = Pattern.from_pairs(tokens, indices, self.n_tokens, self.n_latents)
            return replace(self.detach(), values=self.values.detach()[tokens, indices], pattern=pattern)
        if bool(mask.all()):
            return self.detach()
        return replace(self.detach(), values=self.values.detach()[mask], pattern=self.pattern.keep(mask))

    def detach(self) -> "Codes":
        """The same codes outside the graph."""
        gate = self.source_gate
        if gate is not None:
            gate = replace(gate, cut=gate.cut.detach())
        return replace(self, values=self.values.detach(), source_gate=gate, table=None)
