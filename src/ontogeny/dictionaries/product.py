"""x Wᵀ + b by the fastest routine that the CPU has for it: the one dense product of a sparse training step.

torch gives float32 products to MKL, whose kernels are not made for every CPU. On an AMD EPYC (Zen 4) oneDNN, which
torch ships too, takes 0.7 to 0.85 of MKL's CPU time (d 512 to 2,048, 4,096 and 8,192 latents; `docs/log.md`).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

_ROWS = 256
"""Rows a call: their results are copied out of a cache; one fresh table of 64 MiB costs a tenth in page faults."""


def multiply(
    x: Float[Tensor, "token width"], W: Float[Tensor, "latent width"], b: Float[Tensor, " latent"] | None = None
) -> Float[Tensor, "token latent"]:
    """x Wᵀ + b without gradient, in the narrower format under autocast."""
    if torch.is_autocast_enabled(x.device.type) or not _onednn_can(x, W):
        return linear(x, W, b)
    return multiply_into(x.new_empty(len(x), len(W)), x, W, b)


def multiply_into(
    out: Float[Tensor, "token latent"],
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, " latent"] | None = None,
) -> Float[Tensor, "token latent"]:
    """out = x Wᵀ + b without gradient; autocast has no part in it."""
    if not _onednn_can(x, W):
        return torch.mm(x, W.T, out=out) if b is None else torch.addmm(b, x, W.T, out=out)
    bias = None if b is None else b.contiguous()  # oneDNN reads a bias as if its stride were one
    for rows, results in zip(x.split(_ROWS), out.split(_ROWS), strict=True):
        results.copy_(torch.ops.mkldnn._linear_pointwise(rows, W, bias, "none", [], ""))
    return out


def _onednn_can(x: Tensor, W: Tensor) -> bool:
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    # Weights that lie apart (one source's of several) go to oneDNN's reference routine, hundreds of times as slow.
    packed = W.is_contiguous() or W.T.is_contiguous()
    return plain and packed and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
