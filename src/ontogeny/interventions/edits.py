"""Edits: what may be done to a snapshot's activation, given what a dictionary makes of the same tokens.

A dictionary splits the raw activation of every source s that it writes into latents, bias and error,

    x_s = sum_j c_js + b_s + e_s        c_js = f_j gate_js W_dec[j, s] / scale_s,   b_s = b_dec_s / scale_s + centre_s

and an edit adds, takes away or exchanges such parts, within one source or between two. Edits are values: they hold no
tensors of a batch, may be chained, and say nothing of where they are applied. Each maps the activation so far to the
next, so exchanging the reconstruction and then the error turns one snapshot's activation into the other's.
Source: the interventions of Minder et al., arXiv 2504.02922; additions and subtractions of directions as in steering.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.sparse import decode_active
from ontogeny.errors import DictionaryError
from ontogeny.interventions.changes import raw_directions

Latents = tuple[int, ...] | None
"""Which latents; None stands for all of them."""


@runtime_checkable
class Edit(Protocol):
    """What is done to an activation."""

    def __call__(self, value: Float[Tensor, "token d_model"], parts: "Parts") -> Float[Tensor, "token d_model"]:
        """The activation after the edit, from the activation so far; raw space, float32."""


@dataclass(frozen=True)
class Parts:
    """The parts of some tokens' activations, in those sources that take part; sources are places in `sources_out`.

    `codes`: sparse; None where no dictionary looks on, and whole activations alone can be moved. `directions`,
    `biases`: per source, raw space. `activations`: per source; a source without any can be added from but has no error.
    `masks`: kinds of tokens by name, for edits that are made at some alone.
    """

    codes: Codes | None = None
    directions: Mapping[int, Float[Tensor, "latent d_model"]] = field(default_factory=dict)
    biases: Mapping[int, Float[Tensor, " d_model"]] = field(default_factory=dict)
    activations: Mapping[int, Float[Tensor, "token d_model"]] = field(default_factory=dict)
    masks: Mapping[str, Bool[Tensor, " token"]] = field(default_factory=dict)

    def contribution(self, source: int, latents: Latents = None) -> Float[Tensor, "token d_model"]:
        """sum over the latents of c_js."""
        codes = self.codes
        assert codes is not None and codes.pattern is not None, (
            "latents have contributions where there are sparse codes"
        )
        values = codes.gated(source)
        if latents is None:
            return decode_active(values, self.directions[source], codes.pattern)
        kept = self._member(latents, codes.n_latents)[codes.indices]
        return decode_active(values[kept], self.directions[source], codes.pattern.keep(kept))

    def direction(self, source: int, latents: Latents) -> Float[Tensor, " d_model"]:
        """sum over the latents of W_dec[j, s] / scale_s."""
        directions = self.directions[source]
        return directions[self._member(latents, len(directions))].sum(dim=0)

    def reconstruction(self, source: int) -> Float[Tensor, "token d_model"]:
        """sum over all latents of c_js, and b_s."""
        return self.contribution(source) + self.biases[source]

    def activation(self, source: int) -> Float[Tensor, "token d_model"]:
        """x_s."""
        assert source in self.activations, f"the activation of source {source} was not read"
        return self.activations[source]

    def error(self, source: int) -> Float[Tensor, "token d_model"]:
        """e_s: what the dictionary leaves unexplained."""
        return self.activation(source) - self.reconstruction(source)

    def _member(self, latents: Latents, n_latents: int) -> Bool[Tensor, " latent"]:
        device = next(iter(self.directions.values())).device
        member = torch.full((n_latents,), latents is None, device=device)
        if latents is not None:
            check_latents(latents, n_latents)
            member[list(latents)] = True
        return member


class PartsMaker:
    """Splits batches of tokens; keeps the decoders of the sources that take part, one contiguous table each."""

    def __init__(self, dictionary: Crosscoder, sources: Sequence[int], device: torch.device | str = "cpu") -> None:
        """DictionaryError for a dictionary with a skip connection, whose output is no sum of latents."""
        if dictionary.W_skip is not None:
            raise DictionaryError("a dictionary with a skip connection has other parts than latents; take another.")
        self.dictionary, self.sources, self.device = dictionary, tuple(sources), device
        self.directions = {source: raw_directions(dictionary, source).contiguous().to(device) for source in sources}

    @cached_property
    def biases(self) -> dict[int, Float[Tensor, " d_model"]]:
        """b_dec / scale + centre of every source."""
        with torch.no_grad():
            raw = self.dictionary.denormalise(self.dictionary.b_dec[None])[0]
        return {source: raw[source].to(self.device) for source in self.sources}

    def split(
        self,
        codes: Codes,
        activations: Mapping[int, Float[Tensor, "token d_model"]] | None = None,
        masks: Mapping[str, Bool[Tensor, " token"]] | None = None,
    ) -> Parts:
        """The parts of the tokens that have these codes."""
        return Parts(codes.sparse(), self.directions, self.biases, activations or {}, masks or {})


def check_latents(latents: Sequence[int], n_latents: int) -> None:
    """DictionaryError for a latent out of range."""
    for each in latents:
        if not 0 <= each < n_latents:
            raise DictionaryError(f"there is no latent {each}: this dictionary has {n_latents}, from 0 on.")


# ---- latents ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AddLatents:
    """x + times · sum_j c_js: the contributions that latents make in a source, added (as often as `times` says)."""

    source: int
    latents: Latents = None
    times: float = 1.0

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + self.times * parts.contribution(self.source, self.latents)


@dataclass(frozen=True)
class RemoveLatents:
    """x - sum_j c_js."""

    source: int
    latents: Latents = None

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value - parts.contribution(self.source, self.latents)


@dataclass(frozen=True)
class ReplaceLatents:
    """x + sum_j (c_j,by - c_js): latents written as the source `by` writes them."""

    source: int
    by: int
    latents: Latents = None

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + parts.contribution(self.by, self.latents) - parts.contribution(self.source, self.latents)


@dataclass(frozen=True)
class ScaleLatents:
    """x + (factor - 1) · sum_j c_js: 0 removes, 1 leaves all as it is."""

    source: int
    factor: float
    latents: Latents = None

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + (self.factor - 1) * parts.contribution(self.source, self.latents)


@dataclass(frozen=True)
class SetLatents:
    """x + sum_j (code - f_j gate_js) d_js: every one of these latents has this code on every token."""

    source: int
    code: float
    latents: Latents = None

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        given = self.code * parts.direction(self.source, self.latents)
        return value + given - parts.contribution(self.source, self.latents)


@dataclass(frozen=True)
class RaiseLatents:
    """x + amount · sum_j d_js: every code raised by as much, on every token, whether the latent is on or not."""

    source: int
    amount: float
    latents: Latents = None

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + self.amount * parts.direction(self.source, self.latents)


# ---- reconstruction, error, whole activations ------------------------------------------------------------------------


@dataclass(frozen=True)
class SwapReconstruction:
    """x + recon_by - recon_s: the reconstruction of another source, biases included; the error stays."""

    source: int
    by: int

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + parts.reconstruction(self.by) - parts.reconstruction(self.source)


@dataclass(frozen=True)
class SwapError:
    """x + e_by - e_s: the error of another source; the reconstruction stays."""

    source: int
    by: int

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + parts.error(self.by) - parts.error(self.source)


@dataclass(frozen=True)
class TakeActivation:
    """x_s, whatever the activation was."""

    source: int

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return parts.activation(self.source)


@dataclass(frozen=True)
class TakeReconstruction:
    """recon_s, whatever the activation was."""

    source: int

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return parts.reconstruction(self.source)


@dataclass(frozen=True, eq=False)
class AddVector:
    """x + times · v, the same for all tokens: a mean difference, a steering vector."""

    vector: Float[Tensor, " d_model"]
    times: float = 1.0

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return value + self.times * self.vector.to(value)


# ---- several, and somewhere ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """One edit after the other; of none, the activation stays as it is."""

    edits: tuple[Edit, ...] = ()

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        for edit in self.edits:
            value = edit(value, parts)
        return value


@dataclass(frozen=True)
class Where:
    """An edit at the tokens of one mask of `parts.masks`; the others keep their activation."""

    mask: str
    edit: Edit

    def __call__(self, value: Float[Tensor, "token d_model"], parts: Parts) -> Float[Tensor, "token d_model"]:
        return torch.where(parts.masks[self.mask][:, None], self.edit(value, parts), value)
