"""Products of gradients at both ends of a model: embedding tables, a norm behind them, the unembedding."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ontogeny.quanta.gradients.kept import Kept
from ontogeny.quanta.gradients.parameters import embedding_modules, iter_modules
from ontogeny.quanta.gradients.pieces import Piece
from ontogeny.quanta.gradients.products import add_products, add_rank_one
from ontogeny.quanta.gradients.samples import Samples
from ontogeny.quanta.gradients.shared_ids import add_shared_ids, add_tied, sum_by_id
from ontogeny.quanta.gradients.sums import PairSums, Sums
from ontogeny.quanta.gradients.taps import Flow, gradients_at, tapped
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

HEAD_LOGITS, HEAD_NORMED = "head:logits", "head:normed"
"""The unembedding's two vectors, while a tied table waits for its products with them."""


class HeadGradients:
    """The unembedding's gradient of every sample, (p − e_y) hᵀ, as two vectors."""

    def __init__(self) -> None:
        self._normed: list[Tensor] = []
        self._logits: list[Tensor] = []

    def append(self, normed: Tensor, logit_gradients: Tensor) -> None:
        """A batch's h [sample d_model] and gradients at logits [sample vocabulary]."""
        wide = torch.float64 if normed.dtype == torch.float64 else torch.float32
        self._normed.append(normed.to(wide))
        self._logits.append(logit_gradients.to(wide))

    def add_to(self, sums: PairSums, biased: bool, is_tied: bool) -> None:
        """Add the products of all pairs; `biased`: also those of a bias. A tied table's vectors stay in the sums."""
        logits, normed = torch.cat(self._logits), torch.cat(self._normed)
        total = sums.total("embeddings" if is_tied else "unembedding")
        add_rank_one(total, logits, normed)
        if biased:
            add_products(total, Kept(logits))
        if is_tied:
            sums.values |= {HEAD_LOGITS: logits, HEAD_NORMED: normed}
            sums.touched |= {HEAD_LOGITS, HEAD_NORMED}


def add_embeddings(
    model: HookedModel,
    samples: Samples,
    above: Callable[[slice], Tensor],
    sums: PairSums,
) -> None:
    """Products of what is before block 0: a table's gradient is a sum of vectors for every id in the context.

    `above` reads a batch's gradient at the input of block 0.
    """
    tables, norms = embedding_modules(model)
    pieces = [Piece(part, 0, part.rows) for part in norms]
    by_id: dict[nn.Module, list[tuple[Tensor, Tensor, Tensor]]] = {table: [] for table in tables}
    start = HookPoint("resid_pre", 0)
    modules = [*tables, *iter_modules(norms)]
    sums.begin(pieces)
    for batch in samples.batches:
        ids = samples.ids(batch)
        with torch.enable_grad(), tapped(modules, len(ids)) as taps:
            out = model.read(ids, [start])[start]
            found = gradients_at(out, [taps[each].leaving for each in modules], above(batch).to(out))
            gradients = dict(zip(modules, found))
        real = samples.real(batch)
        sample = torch.arange(batch.start, batch.stop)[:, None].expand(real.shape)[real]
        for table in tables:
            scale = getattr(table, "embed_scale", 1.0)
            vectors = (gradients[table] * scale).detach().cpu()[real]
            by_id[table].append(sum_by_id(sample, taps[table].entering.cpu()[real], vectors))
        for piece in pieces:
            module = piece.part.module
            sums.take(piece, Flow(batch, taps[module].entering, gradients[module], real))
    sums.end()
    total = sums.total("embeddings")
    assert model.architecture is not None
    tokens_table = model.module.get_submodule(model.architecture.token_embedding)
    for table in tables:
        sample, ids, vectors = (torch.cat(each).to(total.device) for each in zip(*by_id[table]))
        add_shared_ids(total, sample, ids, vectors)
        if HEAD_LOGITS in sums.values and table is tokens_table:
            add_tied(total, sample, ids, vectors, sums.values[HEAD_LOGITS], sums.values[HEAD_NORMED])
    drop_head(sums)


def drop_head(sums: Sums) -> None:
    """Forget the unembedding's vectors: all products with them are made."""
    for name in (HEAD_LOGITS, HEAD_NORMED):
        sums.values.pop(name, None)
        sums.touched.discard(name)
