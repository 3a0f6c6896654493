"""How a crosscoder starts: random directions, decoder bias from the first batch, decoder norm by search."""

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.weights import Weights

_SEARCH_TOKENS = 256


def compute_geometric_median(
    points: Float[Tensor, "token source d_model"], max_steps: int = 100, tolerance: float = 1e-5
) -> Float[Tensor, "source d_model"]:
    """The point of least summed distance to the tokens, in each source (Weiszfeld's iteration from the mean).

    Stops after `max_steps`, or once every source moves less than `tolerance`.
    """
    # Source by source: temporaries are of one source's size.
    return torch.stack([_median_of_one(source, max_steps, tolerance) for source in points.unbind(1)])


def _median_of_one(
    points: Float[Tensor, "token d_model"], max_steps: int, tolerance: float
) -> Float[Tensor, " d_model"]:
    median = points.mean(0)
    for _ in range(max_steps):
        distance = torch.linalg.vector_norm(points - median, dim=-1)
        weight = 1 / distance.clamp_min(torch.finfo(points.dtype).tiny)
        closer = weight @ points / weight.sum()
        step = torch.linalg.vector_norm(closer - median)
        median = closer
        if float(step) < tolerance:
            break
    return median


@torch.no_grad()
def draw_weights(crosscoder: Weights, generator: torch.Generator | None) -> None:
    """Draw one source's unit decoder directions and repeat them to all; the encoder is their multiple."""
    init = crosscoder.config.init
    width = max(crosscoder.d_model, crosscoder.d_out)
    drawn = torch.randn(crosscoder.n_latents, width, generator=generator).to(crosscoder.W_dec)
    for weight, d in ((crosscoder.W_dec, crosscoder.d_out), (crosscoder.W_enc, crosscoder.d_model)):
        direction = drawn[:, :d] / torch.linalg.vector_norm(drawn[:, :d], dim=1, keepdim=True)
        weight.copy_((direction * init.decoder_norm)[:, None].expand_as(weight))
    crosscoder.W_enc.mul_(init.encoder_factor)
    crosscoder.b_enc.zero_()
    crosscoder.b_dec.zero_()


@torch.no_grad()
def set_bias(crosscoder: Weights, y: Float[Tensor, "token source_out d_out"]) -> None:
    """Start the decoder bias as the configured centre of normalised activations."""
    kind = crosscoder.config.init.bias
    if kind == "mean":
        crosscoder.b_dec.copy_(y.mean(0))
    elif kind == "geometric_median":
        crosscoder.b_dec.copy_(compute_geometric_median(y))
    else:
        crosscoder.b_dec.zero_()


@torch.no_grad()
def search_norm(
    crosscoder: Weights,
    x: Float[Tensor, "token source_in d_model"],
    y: Float[Tensor, "token source_out d_out"],
) -> float:
    """Set the decoder norm that reconstructs `y` best from `x` (raw): 0.1 to 5 by 0.1, then ±0.1 by 0.01.

    The encoder stays the decoder's multiple, and both thresholds and k are those of training. Returns the norm.
    Source: Language-Model-SAEs, initializer.py (grid search of the decoder norm).
    """
    x, y = x[:_SEARCH_TOKENS], y[:_SEARCH_TOKENS]
    start = crosscoder.config.init.decoder_norm
    W_dec, W_enc = crosscoder.W_dec.clone(), crosscoder.W_enc.clone()

    def set_norm(norm: float) -> None:
        torch.mul(W_dec, norm / start, out=crosscoder.W_dec)
        torch.mul(W_enc, norm / start, out=crosscoder.W_enc)

    def error(norm: float) -> float:
        set_norm(norm)
        wrong = crosscoder.normalise_target(crosscoder(x)) - crosscoder.normalise_target(y)
        return float(wrong.square().mean())

    coarse = min((step / 10 for step in range(1, 51)), key=error)
    best = min((coarse + step / 100 for step in range(-10, 11) if coarse + step / 100 > 0.005), key=error)
    set_norm(best)
    return best
