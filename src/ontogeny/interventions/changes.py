"""How contributions move from the clean state to a baseline, and what that adds to an activation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder

CHUNK = 1 << 14
"""Pairs whose decoders are gathered at a time (16,384 x d_model floats)."""


@dataclass(frozen=True)
class Change:
    """How contributions move from the clean state to the baseline, at the positions of one batch that move.

    An entry is a pair (token, latent) with the difference c' - c in every source: `token` [entry] counts the positions
    that move, `latent` [entry], `difference` [entry source]. `shift` [latent source] is added on top for every latent
    at every one of these positions (the mean baseline), None where nothing is.
    """

    token: Int[Tensor, " entry"]
    latent: Int[Tensor, " entry"]
    difference: Float[Tensor, "entry source"]
    shift: Float[Tensor, "latent source"] | None = None


def raw_directions(
    dictionary: Crosscoder, source: int, latents: Int[Tensor, " chosen"] | None = None
) -> Float[Tensor, "chosen d_model"]:
    """What a unit of contribution adds to the raw activation of a source: W_dec[latents, source] / scale.

    Of all latents by default, which is as much again as the dictionary has for that source.
    """
    decoder = dictionary.W_dec.detach()[:, source]
    rows = decoder if latents is None else decoder[latents.to(decoder.device)]
    return (rows / dictionary.scale_out[source]).cpu()


def project(
    vectors: Float[Tensor, "token d_model"],
    decoder: Float[Tensor, "latent d_model"],
    token: Int[Tensor, " pair"],
    latent: Int[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """<decoder_latent, vector_token> for every pair, and for no other, on the CPU; worked out where the decoder is."""
    vectors, token, latent = (each.to(decoder.device) for each in (vectors, token, latent))
    parts = [
        torch.einsum("pd,pd->p", decoder[latent[part]], vectors[token[part]]).cpu()
        for part in torch.arange(len(token), device=decoder.device).split(CHUNK)
    ]
    return torch.cat(parts) if parts else torch.zeros(0)


def add_moves(
    moved: Float[Tensor, "token d_model"],
    dictionary: Crosscoder,
    source: int,
    token: Int[Tensor, " pair"],
    latent: Int[Tensor, " pair"],
    by: Float[Tensor, " pair"],
) -> None:
    """Add by · d_latent to the token of every pair, in place."""
    for part in torch.arange(len(token)).split(CHUNK):
        moved.index_add_(0, token[part], raw_directions(dictionary, source, latent[part]) * by[part, None])


def compute_change(clean: Codes, baseline: Codes | None, mean: Float[Tensor, "latent source"] | None) -> Change:
    """The change from clean codes to those of the patch prompts, to mean contributions, or (both None) to zero."""
    token, latent, difference = [clean.tokens], [clean.indices], [-contributions(clean)]
    if baseline is not None:
        token.append(baseline.tokens)
        latent.append(baseline.indices)
        difference.append(contributions(baseline))
    return Change(torch.cat(token).cpu(), torch.cat(latent).cpu(), torch.cat(difference).cpu(), mean)


def contributions(codes: Codes) -> Float[Tensor, "pair source"]:
    """The gated code of every pair in every source."""
    return torch.stack([codes.gated(source) for source in range(codes.n_sources)], dim=1)


def mean_contributions(codes: Sequence[Codes]) -> Float[Tensor, "latent source"]:
    """The mean contribution of every latent in every source over all tokens of some codes."""
    n_latents, n_sources = codes[0].norms.shape
    sums = torch.zeros(n_latents, n_sources, dtype=torch.float64)
    for each in codes:
        sums.index_add_(0, each.indices.cpu(), contributions(each).double().cpu())
    return (sums / sum(each.n_tokens for each in codes)).float()
