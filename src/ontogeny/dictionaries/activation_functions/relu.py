"""ReLU: a latent is on where its pre-activation is positive, in every source alike."""

import torch

from ontogeny.dictionaries.activation_functions.contract import ActivationFunction
from ontogeny.dictionaries.activation_functions.preactivation import Preactivation
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import ReLUConfig
from ontogeny.dictionaries.dense import relu_table
from ontogeny.dictionaries.sparse import Pattern


class ReLU(ActivationFunction):
    """f = max(pre, 0). Sparse once fewer than 5 % of the pairs are positive, dense before."""

    Config = ReLUConfig

    def __init__(self, config: ReLUConfig, n_latents: int, n_sources: int, per_source: bool) -> None:
        super().__init__()

    def forward(self, pre: Preactivation, k: int | None = None) -> Codes:
        if not pre.sparse_pays(pre.sample):
            table = relu_table(pre.x, pre.W_enc, pre.b_enc)
            return Codes(table.values, pre.norms, table=table)
        tokens, latents = torch.nonzero(pre.raw > 0, as_tuple=True)
        pattern = Pattern.from_pairs(tokens, latents, pre.n_tokens, pre.n_latents)
        return Codes(pre.kept(pre.raw[tokens, latents], pattern), pre.norms, pattern)
