"""How much of each latent a source really holds on the behaviour's prompts: its decoder norm with shrinkage undone."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.effect_batches import PromptActivations
from ontogeny.latents.batch import LatentBatch
from ontogeny.latents.betas import compute_targets
from ontogeny.latents.scaling import Probes, ScalingAccumulator


@torch.no_grad()
def compute_held(
    dictionary: Crosscoder, activations: PromptActivations, moves: Bool[Tensor, "prompt position"], batch: int = 32
) -> Float[np.ndarray, "latent source"]:
    """beta_own ||d_h|| = sum f <d_h / ||d_h||, e_h + f d_h> / sum f^2 over the moving positions, normalised space.

    e_h is what the dictionary leaves unexplained there. 0 where the decoder has no length, NaN for a latent that is
    never on. Source: latent scaling, arXiv 2504.02922.
    """
    rider = ScalingAccumulator(dictionary, Probes.at_peak(dictionary), n_blocks=1)
    for span in torch.arange(len(moves)).split(batch):
        rows = activations.values[span][moves[span]].to(dictionary.W_enc.device)
        codes = dictionary.encode(rows[:, list(activations.reads)]).sparse()
        nowhere = np.zeros(len(rows), dtype=np.int64)
        columns = TokenColumns(nowhere, nowhere, nowhere, nowhere, nowhere)
        x = dictionary.normalise_target(rows[:, list(activations.writes)])
        rider.update(LatentBatch(dictionary, codes, columns, 0, x))
    targets = compute_targets(rider.compute())
    square = targets.square.sum(axis=1)
    return np.asarray(
        np.divide(targets.own.sum(axis=1), square, out=np.full_like(targets.own[:, 0], np.nan), where=square > 0)
    )
