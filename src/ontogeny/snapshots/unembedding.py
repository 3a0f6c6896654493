"""From a direction in the residual stream straight to the logits: a snapshot's own final norm and unembedding, linear.

With x the residual stream before the final norm N, logits(x) = W_U N(x), N(x) = γ ⊙ (x − m mean(x)) / σ(x) + β, where
m = 1 for LayerNorm and 0 for RMSNorm. With σ held at what it is on text, adding d to x changes the logits by

    effect(d) = C W_U (γ ⊙ (d − m mean(d))) · E[1 / σ],    C y = y − mean(y) over the vocabulary,

in logits. C takes away what moves all tokens alike, which the softmax does not see. A cap on the logits is left out:
its slope at 0 is 1. Source: logit lens (nostalgebraist 2020); folding as in Elhage et al. 2021.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.hooks import HookedModel

AMPLITUDE = 1e3
"""Size of the probe of the final norm, so large that the epsilon in its denominator does not show."""


@dataclass(frozen=True)
class LinearUnembedding:
    """All of it in one matrix [vocabulary d_model], float32: `effects(d) = matrix d`; `inverse_scale` is E[1 / σ]."""

    matrix: Float[Tensor, "vocabulary d_model"]
    inverse_scale: float

    def effects(self, directions: Float[Tensor, "direction d_model"]) -> Float[Tensor, "direction vocabulary"]:
        """Change of the logits, in logits, by adding each direction (in raw units) to the residual stream."""
        return directions.to(self.matrix) @ self.matrix.T


@torch.no_grad()
def fold_unembedding(
    model: HookedModel, residual: Float[Tensor, "token d_model"], vocabulary: int | None = None
) -> LinearUnembedding:
    """Fold final norm and unembedding of a model; `residual` is its residual stream before the norm, on some text.

    Only the first `vocabulary` ids, where an embedding is padded. SnapshotError for a wrapped plain module, and for a
    final norm that is neither a LayerNorm nor an RMSNorm.
    """
    if model.architecture is None:
        raise SnapshotError("a wrapped plain module has no unembedding; open a language model of the table instead.")
    norm = model.module.get_submodule(model.architecture.final_norm)
    unembedding = model.module.get_submodule(model.architecture.unembedding)
    gain, centred = probe_norm(norm, model.d_model, model.device, model.dtype)
    x = residual.to(model.device)
    offset, normed = norm(torch.zeros_like(x[:1], dtype=model.dtype)).float(), norm(x.to(model.dtype)).float()
    inverse = float(inverse_scales(normed - offset, gain * centre(x.float(), centred)).double().mean())
    weight = unembedding.weight[:vocabulary].float()  # type: ignore[index]
    matrix = weight * gain
    if centred:
        matrix = matrix - matrix.mean(dim=1, keepdim=True)
    return LinearUnembedding((matrix - matrix.mean(dim=0)) * inverse, inverse)


def probe_norm(
    norm: nn.Module, width: int, device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, " d_model"], bool]:
    """(γ, whether the mean is taken away) of a final norm, read off what it does: N(v) − N(−v) = 2 γ ⊙ v / rms(v).

    v has mean 0 and no zero entry. That way rows with weight and 1 + weight, or without any, need no table.
    """
    signs = torch.where(torch.arange(width, device=device) % 2 == 0, 1.0, -1.0)
    probe = (signs - signs.mean()) * AMPLITUDE
    rms = probe.square().mean().sqrt()

    def odd(value: Tensor) -> Tensor:
        return (norm(value.to(dtype)).float() - norm(-value.to(dtype)).float()) / 2

    gain = odd(probe) * rms / probe
    moved = odd(probe + AMPLITUDE)
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    if torch.allclose(moved, odd(probe), rtol=tolerance, atol=tolerance):
        return gain, True
    expected = gain * (probe + AMPLITUDE) / (probe + AMPLITUDE).square().mean().sqrt()
    if torch.allclose(moved, expected, rtol=tolerance, atol=tolerance):
        return gain, False
    raise SnapshotError(
        f"the final norm {type(norm).__name__} is neither a LayerNorm nor an RMSNorm, so its effect on the logits "
        "cannot be made linear; leave out what needs logit effects."
    )


def inverse_scales(
    change: Float[Tensor, "*token d_model"], straight: Float[Tensor, "*token d_model"]
) -> Float[Tensor, "*token"]:
    """1 / σ(x) of every token: the least-squares slope of N(x) − N(0) on γ ⊙ (x − m mean(x))."""
    return (change * straight).sum(-1) / straight.square().sum(-1).clamp_min(1e-30)


def centre(x: Float[Tensor, "*token d_model"], centred: bool) -> Float[Tensor, "*token d_model"]:
    """x − m mean(x): the mean is taken away where the norm does that."""
    return x - x.mean(dim=-1, keepdim=True) if centred else x
