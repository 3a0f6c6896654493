"""Monitored latents: what their codes are on every token, and what each snapshot alone says of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder


@dataclass(frozen=True)
class Monitored:
    """Chosen latents on some tokens.

    `codes` [token latent]; `contributions` [token latent source_out]: code · decoder norm where the source's gate is
    on; `evidence` [token latent source_in]: (W_enc[j, s] · x̃_s) ‖W_dec[j, s]‖, NaN for a source that is read only.
    """

    codes: Float[Tensor, "token chosen"]
    contributions: Float[Tensor, "token chosen source_out"]
    evidence: Float[Tensor, "token chosen source_in"]


@torch.no_grad()
def compute_monitored(
    dictionary: Crosscoder, codes: Codes, x: Float[Tensor, "token source_in d_model"], latents: Sequence[int]
) -> Monitored:
    """Codes, contributions and own evidence of some latents; `x` raw, `codes` sparse and of these tokens."""
    device = codes.values.device
    chosen = torch.tensor(list(latents), dtype=torch.long, device=device)
    column = torch.full((dictionary.n_latents,), -1, dtype=torch.long, device=device)
    column[chosen] = torch.arange(len(chosen), device=device)
    kept = column[codes.indices] >= 0
    places = (codes.tokens[kept], column[codes.indices[kept]])
    values = codes.values.new_zeros(codes.n_tokens, len(chosen))
    contributions = []
    for source in range(codes.n_sources):
        contributions.append(values.index_put(places, codes.contribution(source)[kept]))
    norms = dictionary.decoder_norms()[chosen]
    written = {name: norms[:, index] for index, name in enumerate(dictionary.sources_out)}
    unknown = norms.new_full((len(chosen),), torch.nan)
    weights = torch.stack([written.get(name, unknown) for name in dictionary.sources_in], dim=1)
    dots = torch.einsum("tsd,jsd->tjs", dictionary.normalise(x), dictionary.W_enc[chosen])
    return Monitored(
        values.index_put(places, codes.values[kept]).float().cpu(),
        torch.stack(contributions, dim=2).float().cpu(),
        (dots * weights).float().cpu(),
    )
