"""Terms that bring latents back: the pre-activation term of JumpReLU, and the auxiliary loss of dead latents."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.dictionaries.dense import DenseTable


def preact_penalty(
    table: DenseTable,
    threshold: Float[Tensor, " latent"],
    norms: Sequence[Float[Tensor, " latent"]],
) -> Float[Tensor, ""]:
    """mean over tokens and sources of sum_j relu(th_j - pre_tj) n_j: pulls silent latents towards their threshold.

    It compares the threshold with pre, not with pre · n. Source: Language-Model-SAEs, `lp_coefficient`.
    """
    return table.shortfall_means(threshold) @ torch.stack(list(norms)).mean(0)


def aux_k_penalty(residual: Float[Tensor, "token width"], fitted: Float[Tensor, "token width"]) -> Float[Tensor, ""]:
    """mean_t ||r - r̂||² / mean_t ||r - mean_t r||²: what dead latents explain of the (detached) residual r = x - x̂.

    0 where the residual has no variance. Source: Gao et al. 2024, A.2; dictionary_learning, get_auxiliary_loss.
    """
    unexplained = (residual - fitted).square().sum(1).mean()
    variance = (residual - residual.mean(0)).square().sum(1).mean()
    return torch.where(variance > 0, unexplained / variance, torch.zeros_like(unexplained))


def dead_columns(dead: Bool[Tensor, " latent"], scores: Float[Tensor, "token latent"]) -> Float[Tensor, "token dead"]:
    """The scores of the dead latents alone."""
    return scores.index_select(1, torch.nonzero(dead).squeeze(1))
