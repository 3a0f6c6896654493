"""Smooth counts of active latents: tanh, and tanh with a quadratic price on latents that fire often."""

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import TanhConfig, TanhQuadConfig
from ontogeny.dictionaries.losses.contract import SparsityLoss, Strengths


def tanh_penalty(codes: Codes, strengths: Strengths, config: TanhConfig) -> Float[Tensor, ""]:
    """mean_t sum_j tanh(c f_tj n_j). Source: Language-Model-SAEs, sparsity_loss_type "tanh"."""
    counts = _tanh_frequencies(codes, strengths, config.stretch).sum(1)
    return counts.mean() if config.reduction == "mean" else counts.sum()


def tanh_quad_penalty(codes: Codes, strengths: Strengths, config: TanhQuadConfig) -> Float[Tensor, ""]:
    """sum_j p_j (1 + p_j / s) with p_j = mean over tokens and sources of tanh(c f n).

    The mean over sources comes before the square. Source: Language-Model-SAEs, "tanh-quad" (Evolution of Concepts).
    """
    frequency = _tanh_frequencies(codes, strengths, config.stretch).mean(0)
    return (frequency * (1 + frequency / config.frequency_scale)).sum()


def _tanh_frequencies(codes: Codes, strengths: Strengths, stretch: float) -> Float[Tensor, "gate latent"]:
    return torch.stack([codes.tanh_means(source, stretch * norm) for source, norm in enumerate(strengths.norms)])


TANH = SparsityLoss(TanhConfig, tanh_penalty)
TANH_QUAD = SparsityLoss(TanhQuadConfig, tanh_quad_penalty)
