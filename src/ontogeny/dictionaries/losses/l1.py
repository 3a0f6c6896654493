"""L1: the sum over latents of code times decoder norm."""

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import L1Config
from ontogeny.dictionaries.losses.contract import SparsityLoss, Strengths


def l1_penalty(codes: Codes, strengths: Strengths, config: L1Config) -> Float[Tensor, ""]:
    """mean_t sum_j f_tj n_j, summed or averaged over the sources where each has its gate."""
    penalty = torch.stack([codes.means(source) @ norm for source, norm in enumerate(strengths.norms)])
    return penalty.mean() if config.reduction == "mean" else penalty.sum()


L1 = SparsityLoss(L1Config, l1_penalty)
