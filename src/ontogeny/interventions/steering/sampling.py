"""Drawing the next token, so that texts of one seed differ only where their probabilities do."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.interventions.steering.config import SamplingConfig


def choose_tokens(logits: Float[Tensor, "row vocab"], config: SamplingConfig, step: int) -> Int[Tensor, " row"]:
    """The next token of every sample: argmax over the nucleus of log p / temperature + g, or argmax p at temperature 0.

    g is standard Gumbel noise that depends on (seed, sample, step) alone, so that each token has its probability, and
    two models that agree draw the same token (Gumbel-max, Yellott 1977; nucleus: Holtzman et al., arXiv 1904.09751).
    """
    if config.temperature == 0:
        return logits.argmax(dim=-1).cpu()
    scores = (logits.float().cpu() / config.temperature).log_softmax(dim=-1)
    if config.top_p < 1:
        ordered, places = scores.sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        outside = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, places, before >= config.top_p)
        scores = scores.masked_fill(outside, -torch.inf)
    noise = [
        np.random.default_rng([config.seed, row, step]).gumbel(size=scores.shape[-1]) for row in range(len(scores))
    ]
    return (scores.double() + torch.from_numpy(np.stack(noise))).argmax(dim=-1)
