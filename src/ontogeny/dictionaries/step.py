"""One training step's loss: what it needs to know, its terms, what it returns."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.dictionaries.activation_functions.jumprelu import JumpReLU
from ontogeny.dictionaries.activation_functions.preactivation import Preactivation
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import CrosscoderConfig, PenaltyConfig
from ontogeny.dictionaries.losses import RECON_LOSSES, SPARSITY_LOSSES
from ontogeny.dictionaries.losses.contract import Strengths
from ontogeny.dictionaries.losses.revival import aux_k_penalty, dead_columns, preact_penalty
from ontogeny.dictionaries.selection import row_top_k
from ontogeny.dictionaries.sparse import Pattern, decode_active
from ontogeny.dictionaries.weights import Weights


@dataclass(frozen=True)
class StepContext:
    """What a training step needs to know of the run: schedules and which latents are dead."""

    sparsity_factor: float = 1.0
    k: int | None = None
    dead: Bool[Tensor, " latent"] | None = None


@dataclass(frozen=True)
class StepOutput:
    """A training step's weighted loss terms (the loss is their sum) and its codes, outside the graph.

    `error` is target - reconstruction, normalised and outside the graph; `recon` is made of it when asked for.
    """

    terms: dict[str, Tensor]
    codes: Codes
    error: Float[Tensor, "token source_out d_out"]
    target: Float[Tensor, "token source_out d_out"]
    crosscoder: Weights

    @property
    def recon(self) -> Float[Tensor, "token source_out d_out"]:
        """The raw reconstruction."""
        return self.crosscoder.denormalise(self.target - self.error)

    @property
    def loss(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


def compute_terms(
    crosscoder: Weights,
    pre: Preactivation,
    codes: Codes,
    error: Float[Tensor, "token source_out d_out"],
    target: Float[Tensor, "token source_out d_out"],
    context: StepContext,
) -> dict[str, Tensor]:
    """The weighted terms of the loss by name; `error` = target - reconstruction, both normalised."""
    config = crosscoder.config
    terms = {"recon": _reduce(RECON_LOSSES[config.recon](error, target), config)}
    norms = _gate_norms(crosscoder)
    if isinstance(config.sparsity, PenaltyConfig):
        penalty = SPARSITY_LOSSES[config.sparsity.kind].penalty(codes, Strengths(codes, norms), config.sparsity)
        terms["sparsity"] = config.sparsity.coefficient * context.sparsity_factor * penalty
    if config.preact:
        threshold = cast(JumpReLU, crosscoder.activation).threshold
        terms["preact"] = config.preact * preact_penalty(codes.table or pre.table(), threshold, norms)
    if config.aux_k is not None and context.dead is not None and bool(context.dead.any()):
        fitted = _fit_with_dead(crosscoder, pre, context.dead)
        terms["aux_k"] = aux_k_weight(config, *error.shape[1:]) * aux_k_penalty(error.detach().flatten(1), fitted)
    return terms


def aux_k_weight(config: CrosscoderConfig, n_sources: int, d_out: int) -> float:
    """The configured weight of aux_k, else a 32nd of the reconstruction term of a dictionary that knows the mean alone.

    Gao et al. 2024, A.2, weigh 1/32 where both terms are fractions of variance. Ours is not divided by it: a source
    has ||x||² ≈ d_out in the normalised space, so a fixed 1/32 leaves 26 % of 4,096 latents dead where this leaves 8 %.
    """
    assert config.aux_k is not None
    if config.aux_k.coefficient is not None:
        return config.aux_k.coefficient
    by_mean = float(d_out) if config.recon == "squared" else math.sqrt(d_out)
    return by_mean * (n_sources if config.reduction == "sum" else 1) / 32


def _reduce(per_source: Float[Tensor, "token source_out"], config: CrosscoderConfig) -> Float[Tensor, ""]:
    per_token = per_source.mean(1) if config.reduction == "mean" else per_source.sum(1)
    return per_token.mean()


def _gate_norms(crosscoder: Weights) -> list[Float[Tensor, " latent"]]:
    """The norms, with gradient, that weigh the codes: one shared, or one per source with gates per source."""
    norms = crosscoder.decoder_norms()
    if crosscoder.config.gate == "per_source":
        return list(norms.unbind(1))
    shared = crosscoder.shared_norm(norms)
    return [torch.ones_like(norms[:, 0]) if shared is None else shared]


def _fit_with_dead(
    crosscoder: Weights, pre: Preactivation, dead: Bool[Tensor, " latent"]
) -> Float[Tensor, "token width"]:
    """What the top dead latents of each token, by score, make of the residual (no bias)."""
    assert crosscoder.config.aux_k is not None
    which = torch.nonzero(dead).squeeze(1)
    k = min(crosscoder.config.aux_k.k or max(crosscoder.d_model // 2, 1), len(which))
    scores, columns = row_top_k(dead_columns(dead, pre.scores), k)
    pattern = Pattern.from_rows(which[columns], crosscoder.n_latents)
    values = torch.relu(pre.kept_scores(scores.flatten(), pattern))
    return decode_active(values, crosscoder.W_dec, pattern).flatten(1)
