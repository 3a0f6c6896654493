"""What other seeds say of a latent: the spread of its norm and half-rise over its matches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.evolution.series import SeriesEvolution, SeriesPlan
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.matching import NONE, common_sources, match_dictionaries
from ontogeny.latents.trajectories import compute_lives


@dataclass(frozen=True)
class SeedSpread:
    """Lowest and highest over a latent and its matches; NaN where it was found in no other seed.

    `same` and `n_matches` count the matches of a latent's class, and all of them.
    """

    n_matches: Int[np.ndarray, " latent"]
    same: Int[np.ndarray, " latent"]
    norm_low: Float[np.ndarray, "latent source"]
    norm_high: Float[np.ndarray, "latent source"]
    peak_low: Float[np.ndarray, " latent"]
    peak_high: Float[np.ndarray, " latent"]
    half_rise_low: Float[np.ndarray, " latent"]
    half_rise_high: Float[np.ndarray, " latent"]


@dataclass(frozen=True)
class SeedMatch:
    """Another seed's decoder norms [latent source], and every latent's match there, −1 where there is none."""

    norms: Float[np.ndarray, "other_latent source"]
    match: Int[np.ndarray, " latent"]


def match_seed(dictionary: Crosscoder, other: Crosscoder, reference: str, config: EvolutionConfig) -> SeedMatch:
    """Match latents by their concatenated decoders; AnalysisError for other sources and for the dictionary itself."""
    lacking = [name for name in dictionary.sources_out if name not in other.sources_out]
    if lacking:
        raise AnalysisError(
            f"analyses.evolution.seeds names {reference!r}, which lacks source {lacking[0]!r} of this dictionary: name "
            "dictionaries of the same series, trained with another seed."
        )
    if other.W_dec.shape == dictionary.W_dec.shape and bool((other.W_dec == dictionary.W_dec).all()):
        raise AnalysisError(
            f"analyses.evolution.seeds names {reference!r}, which is this very dictionary: name those of another seed."
        )
    found = match_dictionaries(dictionary, other)
    order = [there for _, there in common_sources(dictionary, other)]
    match = np.where(np.nan_to_num(found.similarity, nan=-1.0) >= config.min_match, found.match, NONE)
    return SeedMatch(other.decoder_norms().detach().double().cpu().numpy()[:, order], match)


def compute_spread(
    evolution: SeriesEvolution, matches: Sequence[SeedMatch], plan: SeriesPlan, config: EvolutionConfig
) -> SeedSpread:
    """The spread over this dictionary and the others; lives in the others are read off their norms."""
    norms, half_rises = [evolution.norms], [evolution.lives.half_rise]
    n_matches, same = np.zeros(len(evolution.norms), np.int64), np.zeros(len(evolution.norms), np.int64)
    for each in matches:
        found = (each.match != NONE) & evolution.alive
        theirs = compute_lives(each.norms[:, plan.places], plan.axis.log, config.thresholds)
        norms.append(np.where(found[:, None], theirs.strength[each.match], np.nan))
        half_rises.append(np.where(found, theirs.half_rise[each.match], np.nan))
        n_matches += found
        same += found & (theirs.kind[each.match] == evolution.lives.kind)
    known = n_matches > 0
    low, high = np.fmin.reduce(norms), np.fmax.reduce(norms)
    peaks = [each.max(axis=1) for each in norms]
    return SeedSpread(
        n_matches=n_matches,
        same=same,
        norm_low=np.where(known[:, None], low, np.nan),
        norm_high=np.where(known[:, None], high, np.nan),
        peak_low=np.where(known, np.fmin.reduce(peaks), np.nan),
        peak_high=np.where(known, np.fmax.reduce(peaks), np.nan),
        half_rise_low=np.where(known, np.fmin.reduce(half_rises), np.nan),
        half_rise_high=np.where(known, np.fmax.reduce(half_rises), np.nan),
    )
