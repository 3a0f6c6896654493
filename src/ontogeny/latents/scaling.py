"""Latent scaling: how much of a latent's direction each source really holds, for all latents in one pass.

For a latent with code f_t and a probe direction d, and a target y_t of source h,

    beta = argmin_b sum_t ||b f_t d - y_t||^2 = <d, sum_t f_t y_t> / (sum_t f_t^2 ||d||^2)

with the targets x_h (activation), x_h - b_dec_h (without the bias), the reconstruction, and the error: what is left of
x_h when all other latents' contributions are taken off, e_h + f d_h. Their betas hang together,

    beta_error = beta_activation - beta_reconstruction + <d, d_h> / ||d||^2

so only <d, f x_h> and <d, f e_h> are summed, at the active pairs alone, and no target needs a pass of its own. nu is a
beta in units of the same beta in a reference source. A probe asks for one direction; snapshots of a training run turn
theirs, so beta_own, the error's beta along the target's own decoder d_h, is summed beside it. Everything is in the
dictionary's own (normalised) space.
Source: Minder et al., Overcoming Sparsity Artifacts in Crosscoders, arXiv 2504.02922, sections 3.2 and A.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.sparse import kernels_for
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch

N_BLOCKS = 32
"""Documents are hashed into this many blocks: 2 sums a (latent, block, source) whatever the text's length, a standard
error that is itself known to 1 / sqrt(2 * 31) = 13 %, and still a t-value where a latent fires in few documents."""


@dataclass(frozen=True)
class Probes:
    """Directions to look along, one a latent and probe; `sources` [probe latent] says whose decoders, -1 nobody's."""

    directions: Float[Tensor, "probe latent d_model"]
    sources: Int[np.ndarray, "probe latent"]

    @classmethod
    def of_sources(cls, dictionary: Crosscoder, sources: Int[np.ndarray, "probe latent"]) -> "Probes":
        """Every latent's decoder at the source given for it."""
        every = torch.arange(dictionary.n_latents)
        W_dec = dictionary.W_dec.detach()
        return cls(torch.stack([W_dec[every, torch.from_numpy(chosen)] for chosen in sources]), sources)

    @classmethod
    def at_peak(cls, dictionary: Crosscoder) -> "Probes":
        """Every latent's decoder where its norm (in normalised space) is largest."""
        return cls.of_sources(dictionary, find_peaks(dictionary)[None])

    @classmethod
    def random(cls, dictionary: Crosscoder, like: "Probes", seed: int) -> "Probes":
        """The null control: random directions of the norms of `like`."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(like.directions.shape, generator=generator, dtype=torch.float64)
        norms = torch.linalg.vector_norm(like.directions, dim=-1, keepdim=True)
        unit = drawn / torch.linalg.vector_norm(drawn, dim=-1, keepdim=True)
        return cls(unit.to(like.directions) * norms, np.full_like(like.sources, -1))

    @classmethod
    def of_neighbours(cls, dictionary: Crosscoder, like: "Probes") -> "Probes":
        """The norm-matched control: the direction of the latent next in order of norm, in the same probe."""
        directions = []
        for each in like.directions:
            order = torch.linalg.vector_norm(each, dim=1).argsort(stable=True)
            swapped = torch.empty_like(each)
            swapped[order] = each[order.roll(1)]
            directions.append(swapped)
        return cls(torch.stack(directions), np.full_like(like.sources, -1))

    def __add__(self, other: "Probes") -> "Probes":
        directions = torch.cat([self.directions, other.directions])
        return Probes(directions, np.concatenate([self.sources, other.sources]))


@dataclass(frozen=True)
class ScalingSums:
    """The sums of a pass for the latents `first`, `first + 1`, ..., in float64: views of the accumulator's own.
    Sources, those of the probes too, are counted among the accumulator's targets."""

    first: int
    probe_sources: Int[np.ndarray, "probe latent"]
    n_active: Int[np.ndarray, " latent"]
    square: Float[np.ndarray, "latent block"]
    """sum f^2."""
    total: Float[np.ndarray, "latent block"]
    """sum f."""
    gated_square: Float[np.ndarray, "latent block source"] | None
    """sum f^2 over the tokens where the source's gate is on; None where one gate serves all sources."""
    activation: Float[np.ndarray, "probe latent block source"]
    """<d, sum f x_h>."""
    residual: Float[np.ndarray, "probe latent block source"]
    """<d, sum f e_h>."""
    own_residual: Float[np.ndarray, "latent block source"]
    """<d_h, sum f e_h>."""
    squared_norm: Float[np.ndarray, "probe latent"]
    """||d||^2, NaN for a probe of norm 0."""
    own_norm: Float[np.ndarray, "latent source"]
    """||d_h||."""
    overlap: Float[np.ndarray, "probe latent source"]
    """<d, d_h> / ||d||^2."""
    bias: Float[np.ndarray, "probe latent source"]
    """<d, b_dec_h> / ||d||^2."""


class ScalingAccumulator(Accumulator):
    """Sums of latent scaling for some latents and some sources as targets; all of them unless they are given.
    Takes `bytes_of` a latent and block, and a copy of these latents' decoders."""

    needs_activations: ClassVar[bool] = True

    def __init__(
        self,
        dictionary: Crosscoder,
        probes: Probes,
        latents: range | None = None,
        n_blocks: int = N_BLOCKS,
        targets: Sequence[int] | None = None,
    ) -> None:
        self.latents = range(dictionary.n_latents) if latents is None else latents
        self.targets = list(range(dictionary.n_sources) if targets is None else targets)
        self.n_blocks = n_blocks
        self.probes = probes
        part = slice(self.latents.start, self.latents.stop)
        self._directions = [each[part].contiguous() for each in probes.directions]
        self._decoders = [each.contiguous() for each in dictionary.W_dec.detach()[part][:, self.targets].unbind(1)]
        self._overlap, self._bias, self._squared_norm = _constants(dictionary, probes, self.latents, self.targets)
        shape = (len(self.latents), n_blocks)
        self._norms = torch.stack(
            [torch.linalg.vector_norm(each, dim=1, dtype=torch.float64) for each in self._decoders], 1
        ).numpy()
        sources, n_probes = len(self.targets), len(probes.sources)
        self._n_active = torch.zeros(len(self.latents), dtype=torch.int64)
        self._moments = torch.zeros(*shape, 2, dtype=torch.float64)
        self._dots = torch.zeros(n_probes, *shape, 2 * sources, dtype=torch.float64)
        self._own = torch.zeros(*shape, sources, dtype=torch.float64)
        self._gated = (
            torch.zeros(*shape, sources, dtype=torch.float64) if dictionary.config.gate == "per_source" else None
        )

    @torch.no_grad()
    def update(self, batch: LatentBatch) -> None:
        """Add a batch: f^2 and f, and f <d, x_h>, f <d, e_h> and f <d_h, e_h> at every pair and source."""
        assert batch.x is not None, "latent scaling needs the activations"
        codes, pairs = batch.codes, self._pairs(batch)
        latents, tokens = codes.indices[pairs] - self.latents.start, codes.tokens[pairs]
        blocks = torch.from_numpy(block_of(batch.columns.document, batch.columns.row, self.n_blocks))
        places = latents.cpu() * self.n_blocks + blocks[tokens.cpu()]
        weight = codes.values[pairs].double().cpu()
        self._n_active += torch.bincount(latents, minlength=len(self.latents)).cpu()
        _add(self._moments, places, torch.stack([weight.square(), weight], 1))
        if self._gated is not None:
            gate = torch.stack([codes.gate(source)[pairs] for source in self.targets], 1).cpu()
            _add(self._gated, places, gate * weight.square()[:, None])
        own, *dots = self._pair_dots(batch.x, batch.recon, latents, tokens)
        _add(self._own, places, own.double().cpu() * weight[:, None])
        for table, each in zip(self._dots, dots, strict=True):
            _add(table, places, each.double().cpu() * weight[:, None])

    def _pairs(self, batch: LatentBatch) -> Int[Tensor, " pair"]:
        """The pairs of this accumulator's latents, latent after latent."""
        order = batch.by_latent
        first, last = (int(torch.searchsorted(order.latents, at)) for at in (self.latents.start, self.latents.stop))
        return order.pairs[int(order.pointer[first]) : int(order.pointer[last])]

    def _pair_dots(
        self,
        x: Float[Tensor, "token source d_model"],
        recon: Float[Tensor, "token source d_model"],
        latents: Int[Tensor, " pair"],
        tokens: Int[Tensor, " pair"],
    ) -> list[Float[Tensor, "pair column"]]:
        """At the pairs <d_h, e_h> [pair source], and per probe <d, x_h> and <d, e_h> [pair 2*source].

        Source by source. Measured at 65k pairs, 8 sources x 256, 8 columns of inner products, in encode matmuls: this
        0.03; in order of token, which jumps about in the larger table, 0.05; padded batched matmuls over groups of
        tokens 0.04; a matmul a token 0.08-0.10; summing f y by latent first reads 16 x the memory.
        """
        kernels = kernels_for(x)
        # Made where the dictionary was; the pass may run elsewhere.
        self._directions = [each.to(x.device) for each in self._directions]
        self._decoders = [each.to(x.device) for each in self._decoders]
        whole = latents.new_tensor([0, len(latents)])

        def dots(rows: Tensor, directions: Tensor) -> Tensor:
            return kernels.dots(rows, directions, latents, tokens, whole)

        columns: list[list[Tensor]] = [[] for _ in range(1 + len(self._directions))]
        for source in self.targets:
            rows = x[:, source].contiguous()
            for place, directions in enumerate(self._directions, start=1):
                columns[place].append(dots(rows, directions))
        for source, decoders in zip(self.targets, self._decoders, strict=True):
            rows = x[:, source] - recon[:, source]
            columns[0].append(dots(rows, decoders))
            for place, directions in enumerate(self._directions, start=1):
                columns[place].append(dots(rows, directions))
        return [torch.stack(each, 1) for each in columns]

    def merge(self, other: "ScalingAccumulator") -> None:
        """Add the sums of other tokens."""
        mine, theirs = ((each.latents, each.n_blocks, each.targets) for each in (self, other))
        assert mine == theirs, "accumulators made alike are merged"
        for name, tensor in other.state().items():
            self.state()[name].add_(tensor)

    def state(self) -> dict[str, Tensor]:
        """The sums, by name."""
        state = {"n_active": self._n_active, "moments": self._moments, "dots": self._dots, "own": self._own}
        return state if self._gated is None else state | {"gated": self._gated}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def compute(self) -> ScalingSums:
        """The sums as they are: a divided copy would take half as much again."""
        n_sources = len(self.targets)
        dots = self._dots.numpy()
        return ScalingSums(
            first=self.latents.start,
            probe_sources=_places_of(self.probes.sources[:, self.latents.start : self.latents.stop], self.targets),
            n_active=self._n_active.numpy(),
            square=self._moments[..., 0].numpy(),
            total=self._moments[..., 1].numpy(),
            gated_square=None if self._gated is None else self._gated.numpy(),
            activation=dots[..., :n_sources],
            residual=dots[..., n_sources:],
            own_residual=self._own.numpy(),
            squared_norm=self._squared_norm,
            own_norm=self._norms,
            overlap=self._overlap,
            bias=self._bias,
        )


def find_peaks(dictionary: Crosscoder) -> Int[np.ndarray, " latent"]:
    """The source where each latent's decoder norm (in normalised space) is largest, the first of equals."""
    peaks: np.ndarray = dictionary.decoder_norms().detach().argmax(dim=1).cpu().numpy()
    return peaks


def block_of(
    document: Int[np.ndarray, " token"], row: Int[np.ndarray, " token"], n_blocks: int = N_BLOCKS
) -> Int[np.ndarray, " token"]:
    """The block of every token: its document hashed (its row where there are no documents).

    Hashed, not counted off: texts that take turns must not share out the blocks between them.
    """
    cluster = np.where(document >= 0, document, row).astype(np.uint64)
    hashed = (cluster * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    return (hashed % np.uint64(n_blocks)).astype(np.int64)


def bytes_of(n_sources: int, n_probes: int) -> int:
    """Bytes that the sums take a latent and block of documents, with a gate per source."""
    return 8 * ((2 * n_probes + 2) * n_sources + 2)


def latent_blocks(n_latents: int, n_sources: int, n_probes: int, budget: int, n_blocks: int = N_BLOCKS) -> list[range]:
    """Ranges of latents whose accumulators take at most `budget` bytes each."""
    size = max(budget // (n_blocks * bytes_of(n_sources, n_probes)), 1)
    return [range(start, min(start + size, n_latents)) for start in range(0, n_latents, size)]


def _places_of(sources: Int[np.ndarray, "probe latent"], targets: Sequence[int]) -> Int[np.ndarray, "probe latent"]:
    """Where sources stand among the targets, -1 for others."""
    places = np.full_like(sources, -1)
    for place, target in enumerate(targets):
        places[sources == target] = place
    return places


def _add(table: Float[Tensor, "latent block column"], places: Tensor, rows: Float[Tensor, "pair column"]) -> None:
    table.view(-1, table.shape[-1]).index_add_(0, places, rows)


def _constants(
    dictionary: Crosscoder, probes: Probes, latents: range, targets: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "probe latent"]]:
    """<d, d_h> / ||d||^2, <d, b_dec_h> / ||d||^2 and ||d||^2, NaN in place of a norm of 0."""
    part = slice(latents.start, latents.stop)
    W_dec = dictionary.W_dec.detach()[part][:, targets].double()
    b_dec = dictionary.b_dec.detach()[targets].double()
    overlap, bias, squared = [], [], []
    for directions in probes.directions:
        d = directions[part].double()
        norm = d.square().sum(1)
        norm = torch.where(norm > 0, norm, torch.nan)
        overlap.append(torch.einsum("ld,lsd->ls", d, W_dec) / norm[:, None])
        bias.append(d @ b_dec.T / norm[:, None])
        squared.append(norm)
    return tuple(torch.stack(each).cpu().numpy() for each in (overlap, bias, squared))  # type: ignore[return-value]
