"""How much of each latent a source really holds on the behaviour's prompts: its decoder norm with shrinkage undone."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.changes import project
from ontogeny.interventions.effect_batches import PromptActivations, encode_moving


@torch.no_grad()
def compute_held(
    dictionary: Crosscoder, activations: PromptActivations, moves: Bool[Tensor, "prompt position"], batch: int = 32
) -> Float[np.ndarray, "latent source"]:
    """beta_own ||d_h|| = sum f <d_h / ||d_h||, e_h + f d_h> / sum f^2 over the moving positions, normalised space.

    e_h is what the dictionary leaves unexplained there. 0 where the decoder has no length, NaN for a latent that is
    never on. Source: latent scaling, arXiv 2504.02922.
    """
    norms = dictionary.decoder_norms().double().cpu()
    along, square = torch.zeros_like(norms), norms.new_zeros(len(norms))
    for span in torch.arange(len(moves)).split(batch):
        codes = encode_moving(dictionary, activations, moves, span)
        rows = activations.values[span][moves[span]][:, list(activations.writes)]
        x = dictionary.normalise_target(rows.to(dictionary.W_enc.device))
        error = x - dictionary.decode_normalised(codes, None)
        latent, value = codes.indices.cpu(), codes.values.double().cpu()
        square.index_add_(0, latent, value.square())
        for source in range(codes.n_sources):
            norm = norms[latent, source]
            left = project(error[:, source], dictionary.W_dec[:, source], codes.tokens, codes.indices)
            own = left / torch.where(norm > 0, norm, torch.inf) + codes.gated(source).cpu() * norm
            along[:, source].index_add_(0, latent, value * own)
    return np.asarray(torch.where(square[:, None] > 0, along / square[:, None], torch.nan).numpy())
