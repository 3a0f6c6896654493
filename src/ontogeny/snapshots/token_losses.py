"""Loss of a model on every wanted token of some rows, with logits of some tokens and some ids at a time."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

TOKENS_AT_A_TIME, IDS_AT_A_TIME = 1024, 512
"""Tokens and ids whose logits are made together (2 MiB): a product at full speed, and few enough that the softmax finds
them in a cache. With 50,304 ids, width 256: 0.96 of one large product alone, as no fresh pages are written; 128 tokens
with all ids 1.55, with the sum of exponentials in place 1.09."""


@torch.inference_mode()
def compute_token_losses(
    model: HookedModel, rows: Int[Tensor, "row position"], wanted: Bool[Tensor, "row position"]
) -> Float[Tensor, " token"]:
    """−log P(token | tokens before it in its row), nats, float32, where `wanted`; row by row, on the CPU.

    A row's first token has no prediction. Padding stands at the ends of rows, where no real token sees it: no mask is
    needed. Logits are made of what is wanted alone.
    """
    last = HookPoint("resid_post", model.n_layers - 1)
    chosen = wanted[:, 1:].to(model.device)
    hidden = model.read(rows, [last])[last][:, :-1][chosen]
    targets = rows[:, 1:].to(model.device)[chosen]
    parts = [
        _cross_entropies(model, some, target)
        for some, target in zip(hidden.split(TOKENS_AT_A_TIME), targets.split(TOKENS_AT_A_TIME), strict=True)
    ]
    return torch.cat(parts).cpu() if parts else torch.zeros(0)


def _cross_entropies(
    model: HookedModel, hidden: Float[Tensor, "token d_model"], targets: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """log Σ_v exp(l_v) − l_target: the log-sum-exp of every range of ids, and then that of the ranges."""
    own = torch.zeros(len(hidden), device=hidden.device)
    sums, start = [], 0
    for logits in _iter_logits(model, hidden):
        place, width = targets - start, logits.shape[1]
        found = logits.gather(1, place.clamp(0, width - 1)[:, None])[:, 0]
        own = torch.where((place >= 0) & (place < width), found, own)
        # Where a range has no finite logit, the least number stands in for its largest: inf − inf is none.
        largest = logits.amax(1, keepdim=True).clamp_min(torch.finfo(logits.dtype).min)
        sums.append(logits.sub_(largest).exp_().sum(1).log_().add_(largest[:, 0]))
        start += width
    return torch.stack(sums).logsumexp(0) - own


def _iter_logits(model: HookedModel, hidden: Float[Tensor, "token d_model"]) -> Iterator[Float[Tensor, "token id"]]:
    """`model.unembed(hidden)` in float32, one range of ids after the other; each may lie where the last one lay.

    All ids at once where there is no such cache, and where the unembedding is more than a linear map.
    """
    row = model.architecture
    assert row is not None, "a wrapped module has no logits"
    unembedding = model.module.get_submodule(row.unembedding)
    if type(unembedding) is not nn.Linear or hidden.device.type != "cpu":
        yield model.unembed(hidden).float()
        return
    normed = model.module.get_submodule(row.final_norm)(hidden.to(model.dtype))
    weight, bias = unembedding.weight, unembedding.bias
    buffer = normed.new_empty(len(hidden) * min(len(weight), IDS_AT_A_TIME))
    for start in range(0, len(weight), IDS_AT_A_TIME):
        ids = slice(start, min(start + IDS_AT_A_TIME, len(weight)))
        shape = (len(hidden), ids.stop - start)
        logits = buffer[: shape[0] * shape[1]].view(shape)
        torch.mm(normed, weight[ids].T, out=logits)
        if bias is not None:
            logits += bias[ids]
        yield row.cap_logits(logits, model.module.config).float()  # type: ignore[arg-type]
