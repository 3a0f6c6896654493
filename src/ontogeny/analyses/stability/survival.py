"""Lives of latents, their matches in other dictionaries, and what matching finds where there is nothing to find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.activations.sharded import OrderedStore
from ontogeny.analyses.stability.config import StabilityConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.latents.matching import (
    NONE,
    Matching,
    common_sources,
    concatenate_decoders,
    match_directions,
    random_decoders,
)
from ontogeny.latents.times import compute_time_axis, series_by_hook_point
from ontogeny.latents.trajectories import CLASSES, LifeThresholds, compute_live, compute_lives
from ontogeny.types import Source


@dataclass(frozen=True)
class Biographies:
    """Of one dictionary: where latents live, their peak source, class (index into `CLASSES`, −1: none) and half-rise.

    `half_rise` is on the series' log time, NaN where strength never rises.
    """

    live: Bool[np.ndarray, "latent source"]
    peak: Int[np.ndarray, " latent"]
    kind: Int[np.ndarray, " latent"]
    half_rise: Float[np.ndarray, " latent"]


@dataclass(frozen=True)
class Reunion:
    """Latents matched in another dictionary, and in a random one of its size and norms.

    `kind`, `half_rise` [latent] are those of the match (−1, NaN without one, or where sources differ).
    """

    other: str
    role: str
    matching: Matching
    control: Matching
    kind: Int[np.ndarray, " latent"]
    half_rise: Float[np.ndarray, " latent"]

    def survivors(self, threshold: float) -> Bool[np.ndarray, " latent"]:
        """Whose match has at least this cosine."""
        return np.nan_to_num(self.matching.similarity, nan=-1.0) >= threshold

    def chance(self, threshold: float) -> Bool[np.ndarray, " latent"]:
        """Whose match in the random dictionary has."""
        return np.nan_to_num(self.control.similarity, nan=-1.0) >= threshold


def compute_biographies(
    norms: Float[np.ndarray, "latent source"],
    sources: Sequence[Source],
    alive: Bool[np.ndarray, " latent"],
    thresholds: LifeThresholds,
) -> Biographies:
    """Lives read off decoder norms, along the hook point at which a latent is strongest; the dead live nowhere."""
    norms = np.where(alive[:, None], norms.astype(np.float64), 0.0)
    kind = np.full(len(norms), NONE, dtype=np.int64)
    half_rise, strongest = np.full(len(norms), np.nan), np.full(len(norms), -1.0)
    for places in series_by_hook_point(sources).values():
        mine = norms[:, places]
        largest = mine.max(axis=1)
        chosen = largest > strongest
        strongest = np.maximum(strongest, largest)
        if len(places) < 2:
            kind[chosen], half_rise[chosen] = NONE, np.nan
            continue
        snapshots = [sources[place].snapshot for place in places]
        axis = compute_time_axis([each.step for each in snapshots], [each.tokens for each in snapshots])
        lives = compute_lives(mine, axis.log, thresholds)
        kind[chosen], half_rise[chosen] = lives.kind[chosen], lives.half_rise[chosen]
    kind[~alive] = CLASSES.index("never")
    return Biographies(compute_live(norms, thresholds), norms.argmax(axis=1), kind, half_rise)


def count_active(
    dictionary: Crosscoder, store: OrderedStore, max_tokens: int, batch_size: int, device: str
) -> Int[np.ndarray, " latent"]:
    """Held-out tokens on which each latent is on, of `max_tokens` of them in the store's seeded order."""
    dictionary = dictionary.to(device).eval()
    reads = source_positions(store.sources, dictionary.sources_in)
    counts = torch.zeros(dictionary.n_latents, dtype=torch.int64, device=device)
    seen = 0
    with torch.no_grad():
        for batch in store.iter_batches(batch_size, epochs=1):
            x = select_sources(batch.x[: max_tokens - seen], reads).to(device)
            counts += dictionary.encode(x).sparse().counts()
            seen += len(x)
            if seen == max_tokens:
                break
    return counts.cpu().numpy()


def reunite(
    dictionary: Crosscoder,
    alive: Bool[np.ndarray, " latent"],
    other: Crosscoder,
    other_alive: Bool[np.ndarray, " other_latent"],
    sources: Sequence[Source],
    config: StabilityConfig,
    *,
    name: str,
    role: str,
) -> Reunion:
    """Match the living latents of two dictionaries, and those of the first with random decoders.

    AnalysisError where they share no source, or differ in width.
    """
    places = common_sources(dictionary, other)
    here, there = [pair[0] for pair in places], [pair[1] for pair in places]
    first = _living(concatenate_decoders(dictionary, here), alive)
    second = _living(concatenate_decoders(other, there), other_alive)
    norms = other.decoder_norms().detach()[:, there].float().cpu()
    random = _living(random_decoders(norms, other.d_out, config.seed), other_alive)
    matching = match_directions(first, second.to(first.device), candidates=config.candidates)
    control = match_directions(first, random.to(first.device), candidates=config.candidates)
    kind, half_rise = np.full(len(alive), NONE, dtype=np.int64), np.full(len(alive), np.nan)
    if len(places) == dictionary.n_sources:
        theirs = compute_biographies(norms.numpy(), sources, other_alive, config.thresholds)
        kind = np.where(matching.matched, theirs.kind[matching.match], NONE)
        half_rise = np.where(matching.matched, theirs.half_rise[matching.match], np.nan)
    return Reunion(name, role, matching, control, kind, half_rise)


def _living(directions: Float[Tensor, "latent width"], alive: Bool[np.ndarray, " latent"]) -> Tensor:
    """The directions, zero where a latent is dead, which gives it no partner: what never fired was never trained."""
    return directions * torch.from_numpy(alive).to(directions.device)[:, None]
