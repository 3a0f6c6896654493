"""The numbers of one training step: cheap enough to be taken every few steps, and free of any side effect."""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.codes import Codes

SHOWN = (
    ("train/loss", "loss {:.4g}"),
    ("train/fve", "fve {:.3f}"),
    ("train/l0", "l0 {:.1f}"),
    ("train/dead", "dead {:.1%}"),
    ("train/tokens_per_second", "{:,.0f} tok/s"),
)


@torch.no_grad()
def compute_batch_fve(
    target: Float[Tensor, "token source d_model"], recon: Float[Tensor, "token source d_model"]
) -> list[float]:
    """Fraction of variance explained in a batch, per source: 1 - sum |x - recon|^2 / sum |x - mean(x)|^2.

    One source at a time, so that no second [token source d_model] tensor is made. NaN for a constant source.
    """
    values = []
    for source in range(target.shape[1]):
        x = target[:, source].float()
        error = (x - recon[:, source].float()).square_().sum(dtype=torch.float64)
        spread = (x - x.mean(dim=0)).square_().sum(dtype=torch.float64)
        values.append(float(1.0 - error / spread) if spread > 0 else math.nan)
    return values


@torch.no_grad()
def compute_step_metrics(
    terms: Mapping[str, Tensor],
    target: Float[Tensor, "token source d_model"],
    recon: Float[Tensor, "token source d_model"],
    codes: Codes,
    names: Sequence[str],
) -> dict[str, int | float]:
    """The `train/...` numbers of one batch (`training/tracking.py` documents the names)."""
    metrics: dict[str, int | float] = {"train/loss": sum(float(term) for term in terms.values())}
    metrics |= {f"train/terms/{name}": float(term) for name, term in terms.items()}
    fve = compute_batch_fve(target, recon)
    metrics["train/fve"] = sum(fve) / len(fve)
    metrics |= {f"train/fve/{name}": value for name, value in zip(names, fve, strict=True)}
    metrics["train/l0"] = float(codes.l0().double().mean())
    for source, name in enumerate(names):
        metrics[f"train/l0/{name}"] = float(codes.l0(source).double().mean())
    return metrics


def describe(metrics: Mapping[str, int | float]) -> str:
    """The few metrics that a person watches, on one line."""
    return "  ".join(form.format(metrics[name]) for name, form in SHOWN if name in metrics)


class Clock:
    """Tokens per second since it was last asked."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._time = time.monotonic()

    def rate(self, tokens: int) -> float:
        now = time.monotonic()
        rate = (tokens - self._tokens) / max(now - self._time, 1e-9)
        self._tokens, self._time = tokens, now
        return rate
