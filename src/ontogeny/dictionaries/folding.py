"""A crosscoder's tensors with its scales and centres folded in."""

import torch
from torch import Tensor

from ontogeny.dictionaries.weights import Weights


@torch.no_grad()
def compute_folded(crosscoder: Weights) -> dict[str, Tensor]:
    """Every parameter and buffer of the same dictionary on raw activations: scales 1, centres 0.

    W_enc ← W_enc s, b_enc ← b_enc - W_enc s·c, W_dec ← W_dec / s, b_dec ← b_dec / s + c.
    """
    W_enc = crosscoder.W_enc * crosscoder.scale[:, None]
    b_enc = crosscoder.b_enc - W_enc.flatten(1) @ crosscoder.centre.flatten()
    if crosscoder.config.subtract_b_dec:
        b_enc -= crosscoder.W_enc.flatten(1) @ crosscoder.b_dec.flatten()
    b_dec = crosscoder.b_dec / crosscoder.scale_out[:, None] + crosscoder.centre_out
    folded = {
        "W_enc": W_enc,
        "b_enc": b_enc,
        "W_dec": crosscoder.W_dec / crosscoder.scale_out[:, None],
        "b_dec": b_dec,
        "centre": torch.zeros_like(crosscoder.centre),
        "scale": torch.ones_like(crosscoder.scale),
        "centre_out": torch.zeros_like(crosscoder.centre_out),
        "scale_out": torch.ones_like(crosscoder.scale_out),
        "gate_norms": crosscoder.decoder_norms(),
    }
    if crosscoder.W_skip is not None:
        scale_in = crosscoder.scale.repeat_interleave(crosscoder.d_model)
        scale_out = crosscoder.scale_out.repeat_interleave(crosscoder.d_out)
        folded["W_skip"] = crosscoder.W_skip * scale_in / scale_out[:, None]
        b_dec -= (folded["W_skip"] @ crosscoder.centre.flatten()).view_as(b_dec)
    return folded | {f"activation.{name}": value for name, value in crosscoder.activation.state_dict().items()}
