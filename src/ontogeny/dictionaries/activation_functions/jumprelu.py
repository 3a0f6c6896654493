"""JumpReLU: a latent is on where its score exceeds its own learned threshold."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.dictionaries.activation_functions.contract import ActivationFunction
from ontogeny.dictionaries.activation_functions.preactivation import Preactivation
from ontogeny.dictionaries.codes import Codes, SourceGate
from ontogeny.dictionaries.config import JumpReLUConfig
from ontogeny.dictionaries.dense import jump_table
from ontogeny.dictionaries.elementwise import jump_gate
from ontogeny.dictionaries.sparse import Pattern


class JumpReLU(ActivationFunction):
    """f = pre where pre · n > th. Shared gate: n is the latent's combined norm; per source: n is that source's norm.

    The threshold is kept as its logarithm [latent], trained by the estimate in `elementwise.jump_gate`.
    While training the pairs in the estimate's window are kept too, since the threshold's gradient comes from them.
    """

    Config = JumpReLUConfig

    def __init__(self, config: JumpReLUConfig, n_latents: int, n_sources: int, per_source: bool) -> None:
        super().__init__()
        self.window = config.window
        self.per_source = per_source
        self.log_threshold = nn.Parameter(torch.full((n_latents,), math.log(config.threshold)))

    @property
    def threshold(self) -> Float[Tensor, " latent"]:
        return self.log_threshold.exp()

    def forward(self, pre: Preactivation, k: int | None = None) -> Codes:
        norm = pre.norms.amax(1) if self.per_source else pre.norm
        if norm is None:
            norm = torch.ones_like(pre.norms[:, 0])
        threshold = self.threshold
        lowest = threshold.detach()
        if self.training:
            lowest = (lowest - self.window / 2).clamp_min(0.0)
        gate = SourceGate(pre.norms, threshold, "latent", self.window) if self.per_source else None
        if not pre.sparse_pays(pre.sample * norm - lowest):
            norms = pre.norms.unbind(1) if self.per_source else (norm,)
            table = jump_table(pre.x, pre.W_enc, pre.b_enc, threshold, norms, self.window, whole=not self.per_source)
            return Codes(table.values, pre.norms, None, gate, table)
        # In any source: pre · n_s > lowest for some s is pre · max n_s > lowest, as neither side is negative.
        tokens, latents = torch.nonzero(pre.raw * norm > lowest, as_tuple=True)
        pattern = Pattern.from_pairs(tokens, latents, pre.n_tokens, pre.n_latents)
        values = pre.kept(pre.raw[tokens, latents], pattern)
        if gate is None:
            values = jump_gate(values, threshold.index_select(0, latents), norm.index_select(0, latents), self.window)
        return Codes(values, pre.norms, pattern, gate)
