"""The one pass: held-out tokens in corpus order, encoded once, handed to everything that rides along."""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.activations.sharded import OrderedStore
from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch


def run_pass(
    dictionary: Crosscoder,
    store: OrderedStore,
    accumulators: Mapping[str, Accumulator],
    *,
    batch_size: int = 2_048,
    max_tokens: int | None = None,
    device: str = "cpu",
    on_batch: Callable[[int], None] = lambda n_tokens: None,
) -> int:
    """Update every accumulator with the kept tokens of a store in corpus order; returns how many tokens there were."""
    dictionary = dictionary.to(device).eval()
    reads = source_positions(store.sources, dictionary.sources_in)
    writes = source_positions(store.sources, dictionary.sources_out)
    wanted = any(each.needs_activations for each in accumulators.values())
    n_tokens = 0
    with torch.no_grad():
        for raw, columns in iter_in_order(store, batch_size, max_tokens):
            x = raw.to(device)
            codes = dictionary.encode(select_sources(x, reads)).sparse()
            target = dictionary.normalise_target(select_sources(x, writes)) if wanted else None
            batch = LatentBatch(dictionary, codes, columns, n_tokens, target)
            for each in accumulators.values():
                each.update(batch)
            n_tokens += batch.n_tokens
            on_batch(n_tokens)
    return n_tokens


def iter_in_order(
    store: OrderedStore, batch_size: int, max_tokens: int | None = None
) -> Iterator[tuple[Float[Tensor, "token source d_model"], TokenColumns]]:
    """Kept rows of a store in corpus order, raw and in their stored dtype; a batch ends where a shard ends."""
    seen = 0
    for shard in range(store.n_shards):
        block = store.load_block([shard])
        for start in range(0, len(block.kept), batch_size):
            rows = block.kept[start : start + batch_size]
            if max_tokens is not None:
                rows = rows[: max_tokens - seen]
            if len(rows) == 0:
                return
            places = torch.from_numpy(rows)
            yield torch.stack([values[places] for values in block.values[0]], dim=1), block.columns.take(rows)
            seen += len(rows)
