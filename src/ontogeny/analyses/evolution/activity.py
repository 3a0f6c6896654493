"""What evolution takes along on the pass: on how many tokens a latent fires, on request how strongly it is there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch
from ontogeny.latents.betas import compute_held_strength
from ontogeny.latents.scaling import Probes, ScalingAccumulator, ScalingSums


@dataclass(frozen=True)
class Activity:
    """Tokens that each latent fires on."""

    n_active: Int[np.ndarray, " latent"]


class ActivityAccumulator(Accumulator):
    """Counts the tokens that each latent fires on: 8 bytes a latent."""

    def __init__(self, n_latents: int) -> None:
        self._n_active = torch.zeros(n_latents, dtype=torch.int64)

    def update(self, batch: LatentBatch) -> None:
        """Add a batch."""
        self._n_active += torch.bincount(batch.codes.indices.cpu().long(), minlength=len(self._n_active))

    def merge(self, other: "ActivityAccumulator") -> None:
        """Add the counts of other tokens."""
        self._n_active += other._n_active

    def compute(self) -> Activity:
        """The counts."""
        return Activity(self._n_active.numpy())

    def state(self) -> dict[str, Tensor]:
        """The counts, by name."""
        return {"n_active": self._n_active}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self._n_active.copy_(state["n_active"])


def make_rider(dictionary: Crosscoder, config: EvolutionConfig) -> Accumulator:
    """Latent scaling along each latent's own decoders, or counts alone.

    The scaling needs no standard errors here, so documents go into the fewest blocks.
    """
    if config.strength != "scaling":
        return ActivityAccumulator(dictionary.n_latents)
    return ScalingAccumulator(dictionary, Probes.at_peak(dictionary), n_blocks=1)


def compute_strength(
    dictionary: Crosscoder, accumulated: Any
) -> tuple[Float[np.ndarray, "latent source"], Int[np.ndarray, " latent"]]:
    """The strength of every latent in every source, and the tokens it fires on.

    By norm: ||W_dec[j, s]|| in normalised space. By scaling: what each source's own activations hold of the latent.
    A latent that never fires has no beta (NaN).
    """
    norms: np.ndarray = dictionary.decoder_norms().detach().double().cpu().numpy()
    if isinstance(accumulated, Activity):
        return norms, accumulated.n_active
    assert isinstance(accumulated, ScalingSums), f"evolution's rider left {type(accumulated).__name__}"
    return compute_held_strength(accumulated, norms), accumulated.n_active
