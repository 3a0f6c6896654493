"""Products of the gradients of single tokens' losses, exact, layer by layer from the top.

The gradient of a linear map at sample i is G_i = Σ_t b_it a_itᵀ, with a its input and b the gradient at its output,
over the tokens before the predicted one: what comes after has no gradient, so the context is cut there, and logits are
made at one position. One forward keeps the residual stream x_k before every block. From the top down a block is run
again from x_k, dx_{k+1} is taken back through it, G of one or more of its maps is written for all samples, and their
products are added: K_group += G Gᵀ. Forward and backward cost 8 · parameters · N · length whatever N is, and are not
repeated for pairs of blocks. In the top block all but keys and values have b at the last position alone, so G_i is an
outer product and G_i · G_j = (b_i · b_j)(a_i · a_j).

Source: quanta-discovery, similarity_matrix_v1 (what is computed); ghost products, Goodfellow 2015 (the outer products).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ontogeny.errors import AnalysisError
from ontogeny.quanta.config import PUBLISHED, GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.parameters import (
    Part,
    block_parts,
    check_groups,
    embedding_modules,
    final_parts,
    is_tied,
    iter_modules,
)
from ontogeny.quanta.products import Piece, add_products, add_rank_one, mirror, plan_passes
from ontogeny.quanta.residuals import Residuals
from ontogeny.quanta.shared_ids import add_shared_ids, add_tied, sum_by_id
from ontogeny.quanta.similarity import GradientGram
from ontogeny.quanta.taps import Tap, frozen, gradients_at, tapped
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

ROWS_AT_A_TIME = 64
"""Samples of one forward at most: each has a row of logits."""
WORKING_SHARE = 0.2
"""Of the memory budget, what forwards and products need."""


def compute_gram(
    model: HookedModel,
    documents: Documents,
    tokens: Int[np.ndarray, " token"],
    config: GramConfig | None = None,
    scratch: Path | None = None,
) -> GradientGram:
    """Products of the gradients of the losses of tokens, given by canonical index, in their documents.

    Errors: AnalysisError for a group without parameters, and for a memory budget in which not one row of a matrix fits.
    """
    config = GramConfig() if config is None else config
    groups = config.groups
    if groups is None:
        there = {part.group for layer in range(model.n_layers) for part in block_parts(model, layer)}
        there |= {part.group for part in final_parts(model)}
        groups = tuple(group for group in PUBLISHED if group in there)
    check_groups(model, groups)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, frozen(model.module):
        run = _Run(model, documents, np.asarray(tokens), tuple(groups), config, Path(folder))
        run.forward()
        run.head()
        for layer in reversed(range(model.n_layers)):
            run.block(layer)
        if "embeddings" in groups:
            run.embed()
        return run.result()


class _Run:
    """One computation: samples sorted by length, their residual stream, the matrices so far."""

    def __init__(
        self,
        model: HookedModel,
        documents: Documents,
        tokens: np.ndarray,
        groups: tuple[str, ...],
        config: GramConfig,
        folder: Path,
    ) -> None:
        self.model, self.tokens, self.groups, self.config = model, tokens, groups, config
        document, place = documents.locate(tokens)
        self.order = np.argsort(-place, kind="stable")
        self.lengths = torch.from_numpy(place[self.order])
        first = documents.offsets[document[self.order]]
        self.contexts = [documents.tokens[at : at + size] for at, size in zip(first, place[self.order])]
        self.targets = torch.from_numpy(documents.predicted(tokens[self.order]))
        self.batches = list(self._iter_batches())
        self.sums = torch.float32 if config.accumulate == "float32" else torch.float64
        self.storage = model.dtype if config.storage == "model" else getattr(torch, config.storage)
        self.products: dict[tuple[str, int | None], Tensor] = {}
        self.tied = is_tied(model)
        self.head_vectors: tuple[Tensor, Tensor] | None = None
        self._lay_out(folder)

    def _iter_batches(self) -> list[slice]:
        batches, start = [], 0
        while start < len(self.lengths):
            rows = min(ROWS_AT_A_TIME, max(1, self.config.batch_tokens // int(self.lengths[start])))
            batches.append(slice(start, min(len(self.lengths), start + rows)))
            start = batches[-1].stop
        return batches

    def _lay_out(self, folder: Path) -> None:
        """Residuals in memory if that leaves half of the room to gradients, else on disk."""
        n_samples, wide = len(self.lengths), 8 if self.model.dtype == torch.float64 else 4
        matrices = len(self.groups) * (self.model.n_layers if self.config.by_layer else 1) + 2
        room = self.config.memory * 1e9 * (1 - WORKING_SHARE) - matrices * n_samples**2 * self.sums.itemsize
        slots = self.model.n_layers + 2
        needed = slots * int(self.lengths.sum()) * self.model.d_model * wide
        file = None if needed <= room / 2 else folder / "residuals"
        kept = torch.float64 if self.model.dtype == torch.float64 else torch.float32
        self.residuals = Residuals(slots, self.lengths, self.model.d_model, kept, file)
        self.capacity = int((room - (0 if file else needed)) // (n_samples * self.storage.itemsize))
        if self.capacity < 1:
            raise AnalysisError(
                f"{self.config.memory:g} GB do not hold {matrices} matrices of {n_samples} tokens; raise memory, ask "
                "for fewer groups, or take fewer tokens."
            )

    def _total(self, group: str, layer: int | None) -> Tensor:
        key = (group, layer if self.config.by_layer else None)
        if key not in self.products:
            self.products[key] = torch.zeros(len(self.lengths), len(self.lengths), dtype=self.sums)
        return self.products[key]

    def _rows(self, samples: slice) -> Int[Tensor, "sample position"]:
        real = self.residuals.real(samples)
        rows = torch.zeros(real.shape, dtype=torch.int64)
        rows[real] = torch.from_numpy(np.concatenate(self.contexts[samples]))
        return rows

    @property
    def _dx(self) -> int:
        """The slot of gradients at the residual stream, behind those of its values."""
        return self.model.n_layers + 1

    @torch.no_grad()
    def forward(self) -> None:
        """Keep the residual stream before every block and after the last."""
        places = [HookPoint("resid_pre", layer) for layer in range(self.model.n_layers)]
        places.append(HookPoint("resid_post", self.model.n_layers - 1))
        for samples in self.batches:
            read = self.model.read(self._rows(samples), places)
            for slot, place in enumerate(places):
                self.residuals.write(slot, samples, read[place])

    def head(self) -> None:
        """Loss at the last position, back through unembedding and final norm."""
        parts = [part for part in final_parts(self.model) if part.group in self.groups]
        pieces = [Piece(part, 0, part.rows) for part in parts]
        kept = {piece: self._buffer(piece) for piece in pieces}
        assert self.model.architecture is not None
        norm, unembedding = (
            self.model.module.get_submodule(path)
            for path in (self.model.architecture.final_norm, self.model.architecture.unembedding)
        )
        wants_head = "unembedding" in self.groups or (self.tied and "embeddings" in self.groups)
        logit_gradients, normed = [], []
        for samples in self.batches:
            x = self.residuals.read(self.model.n_layers, samples)
            at, ends = torch.arange(len(x)), self.lengths[samples] - 1
            last = x[at, ends].to(self.model.device, self.model.dtype).requires_grad_()
            with torch.enable_grad(), tapped([norm, unembedding], len(x)) as taps:
                logits = self.model.unembed(last)
                wide = logits if logits.dtype == torch.float64 else logits.float()
                targets = self.targets[samples].to(self.model.device)
                loss = torch.nn.functional.cross_entropy(wide, targets, reduction="sum")
                dx, dnorm, dlogits = gradients_at(loss, [last, taps[norm].leaving, taps[unembedding].leaving])
            full = torch.zeros_like(x)
            full[at, ends] = dx.to(full)
            self.residuals.write(self._dx, samples, full)
            for piece in pieces:
                kept[piece][samples] = piece.part.gradient(taps[norm].entering, dnorm, piece.start, piece.stop).to(
                    self.storage
                )
            if wants_head:
                logit_gradients.append(dlogits.cpu())
                normed.append(taps[unembedding].entering.cpu())
        for piece in pieces:
            piece.add(self._total(piece.part.group, None), kept[piece])
        if wants_head:
            self.head_vectors = (torch.cat(logit_gradients), torch.cat(normed))
            self._add_unembedding(getattr(unembedding, "bias", None) is not None)

    def _add_unembedding(self, biased: bool) -> None:
        assert self.head_vectors is not None
        total = self._total("embeddings" if self.tied else "unembedding", None)
        add_rank_one(total, *self.head_vectors)
        if biased:
            add_products(total, self.head_vectors[0])

    def block(self, layer: int) -> None:
        """All products of a block, and the gradient at its input."""
        parts = [part for part in block_parts(self.model, layer) if part.group in self.groups]
        last = self._at_last_position(parts, layer) if layer == self.model.n_layers - 1 else set()
        passes = plan_passes(parts, last, self.capacity)
        if passes is None:
            raise AnalysisError(
                f"{self.config.memory:g} GB do not hold one row of a matrix of layer {layer} for {len(self.tokens)} "
                "tokens; raise memory or take fewer tokens."
            )
        for number, pieces in enumerate(passes):
            kept = {piece: self._buffer(piece) for piece in pieces}
            for samples in self.batches:
                taps, gradients, dx = self._run_block(layer, samples, [piece.part for piece in pieces])
                ends = self.lengths[samples] - 1
                for piece in pieces:
                    module = piece.part.module
                    piece.fill(kept[piece][samples], taps[module].entering, gradients[module], ends)
                if number == len(passes) - 1:
                    self.residuals.write(self._dx, samples, dx)
            for piece in pieces:
                piece.add(self._total(piece.part.group, layer), kept.pop(piece))

    def _run_block(
        self, layer: int, samples: slice, parts: Sequence[Part]
    ) -> tuple[dict[torch.nn.Module, Tap], dict[torch.nn.Module, Tensor], Tensor]:
        x = self.residuals.read(layer, samples).to(self.model.device, self.model.dtype).requires_grad_()
        above = self.residuals.read(self._dx, samples)
        modules = list(iter_modules(parts))
        with torch.enable_grad(), tapped(modules, len(x)) as taps:
            out = self.model.run_block(layer, x)
            dx, *rest = gradients_at(out, [x, *(taps[module].leaving for module in modules)], above.to(out))
        return taps, dict(zip(modules, rest)), dx

    def _at_last_position(self, parts: Sequence[Part], layer: int) -> set[Part]:
        """Matrices whose output has a gradient at the last position alone, asked of the longest sample."""
        if int(self.lengths[0]) == 1:
            return set()
        _, gradients, _ = self._run_block(layer, slice(0, 1), parts)
        alone = {module for module, each in gradients.items() if not bool(each[:, :-1].any())}
        return {part for part in parts if part.is_matrix and part.module in alone}

    def _buffer(self, piece: Piece) -> Tensor:
        return torch.empty(len(self.lengths), piece.entries, dtype=self.storage)

    def embed(self) -> None:
        """Products of what is before block 0: a table's gradient is a sum of vectors for every id in the context."""
        tables, norms = embedding_modules(self.model)
        pieces = [Piece(part, 0, part.rows) for part in norms]
        kept = {piece: self._buffer(piece) for piece in pieces}
        sums: dict[torch.nn.Module, list[tuple[Tensor, Tensor, Tensor]]] = {table: [] for table in tables}
        start = HookPoint("resid_pre", 0)
        modules = [*tables, *iter_modules(norms)]
        for samples in self.batches:
            rows = self._rows(samples)
            with torch.enable_grad(), tapped(modules, len(rows)) as taps:
                out = self.model.read(rows, [start])[start]
                above = self.residuals.read(self._dx, samples).to(out)
                gradients = dict(zip(modules, gradients_at(out, [taps[each].leaving for each in modules], above)))
            real = self.residuals.real(samples)
            sample = torch.arange(samples.start, samples.stop)[:, None].expand(real.shape)[real]
            for table in tables:
                scale = getattr(table, "embed_scale", 1.0)
                vectors = (gradients[table] * scale).detach().cpu()[real]
                sums[table].append(sum_by_id(sample, taps[table].entering.cpu()[real], vectors))
            for piece in pieces:
                tap, gradient = taps[piece.part.module], gradients[piece.part.module]
                kept[piece][samples] = piece.part.gradient(tap.entering, gradient, piece.start, piece.stop)
        total = self._total("embeddings", None)
        for piece in pieces:
            piece.add(total, kept[piece])
        assert self.model.architecture is not None
        tokens_table = self.model.module.get_submodule(self.model.architecture.token_embedding)
        for table in tables:
            sample, ids, vectors = (torch.cat(each) for each in zip(*sums[table]))
            add_shared_ids(total, sample, ids, vectors)
            if self.tied and table is tokens_table:
                assert self.head_vectors is not None
                add_tied(total, sample, ids, vectors, *self.head_vectors)

    def result(self) -> GradientGram:
        """The matrices in the order in which tokens were given."""
        back = torch.from_numpy(np.argsort(self.order))
        products = {key: mirror(each)[back][:, back].numpy() for key, each in self.products.items()}
        return GradientGram(self.tokens, products)
