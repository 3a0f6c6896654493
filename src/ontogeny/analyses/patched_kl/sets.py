"""Which latents are put in: classes, those of largest relative norm, and halves of either by a ranking or at random."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.patched_kl.config import LatentSetConfig, PatchedKLConfig, Ranking
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.ownership import PairLatents, Verdicts, judge_latents
from ontogeny.latents.pair import CLASSES, DEAD, Pair, choose_pair
from ontogeny.latents.scaling import Probes, ScalingAccumulator, ScalingSums

NU_RANGE = (-0.1, 2.0)
"""nus outside of it are not ranked: the ratio of two small numbers. Source: Minder et al., their code for the KL."""


@dataclass(frozen=True)
class LatentSet:
    """Latents that are put in together: a whole set, its best, worst or a random half.

    `by`: the ranking of best and worst; `seed`: of a random half.
    """

    name: str
    half: str
    by: str | None
    seed: int | None
    latents: tuple[int, ...]


@dataclass(frozen=True)
class Rankings:
    """What sets and halves are chosen by; [latent], larger is more the chat's own, NaN where missing."""

    judged: PairLatents
    scores: dict[Ranking, Float[np.ndarray, " latent"]]


def pair_of(inputs: AnalysisInputs, config: PatchedKLConfig) -> Pair:
    """The two sources."""
    return choose_pair(inputs.dictionary.sources_out, inputs.sources, "patched_kl", config.base, config.chat)


def make_rider(inputs: AnalysisInputs, config: PatchedKLConfig) -> ScalingAccumulator:
    """Every latent looked for along its decoder in chat, as published: how much of it does base hold?"""
    pair = pair_of(inputs, config)
    chat = np.full((1, inputs.dictionary.n_latents), pair.chat)
    return pair.scaling(inputs.dictionary, Probes.of_sources(inputs.dictionary, chat))


def rank_latents(sums: ScalingSums, dictionary: Crosscoder, pair: Pair, config: PatchedKLConfig) -> Rankings:
    """delta_norm; minus nu_error, nu_reconstruction, and the sum of both's ranks; the mean size of the exchange.

    size_j = mean f_j · ||d_j,chat - d_j,base|| in raw activations, of the codes of all tokens.
    """
    judged = judge_latents(
        sums, dictionary, pair, Verdicts(**{each.name: getattr(config, each.name) for each in fields(Verdicts)})
    )
    low, high = NU_RANGE
    nus = np.stack([judged.nu_error, judged.nu_reconstruction])
    ranked = ((nus >= low) & (nus <= high)).all(axis=0)
    error, reconstruction = (np.where(ranked, nu, np.nan) for nu in nus)
    both = np.full(len(error), np.nan)
    both[ranked] = _ranks(error[ranked]) + _ranks(reconstruction[ranked])
    W_dec, scale = dictionary.W_dec.detach(), dictionary.scale_out
    moved = W_dec[:, pair.chat] / scale[pair.chat] - W_dec[:, pair.base] / scale[pair.base]
    size = sums.total.sum(axis=1) * torch.linalg.vector_norm(moved, dim=1).double().cpu().numpy()
    scores: dict[Ranking, Float[np.ndarray, " latent"]] = {
        "delta_norm": judged.delta,
        "nu_error": -error,
        "nu_reconstruction": -reconstruction,
        "nu": -both,
        "size": np.where(judged.kind == DEAD, np.nan, size),
    }
    return Rankings(judged, scores)


def choose_sets(rankings: Rankings, config: PatchedKLConfig) -> list[LatentSet]:
    """Every set, and its halves; a set may be empty.

    All halves of a set are of the latents that all of its rankings rank, half of them each, so that they compare; of
    an odd number the middle one is in neither.
    """
    sets = []
    for number, asked in enumerate(config.sets):
        members = _members(rankings, asked)
        sets.append(LatentSet(asked.name, "whole", None, None, tuple(members.tolist())))
        if asked.halves:
            known = np.all([np.isfinite(rankings.scores[by][members]) for by in asked.halves], axis=0)
            sets += _halves(rankings, asked, members[known], config.random_seeds, (config.seed, number))
    return sets


def _members(rankings: Rankings, asked: LatentSetConfig) -> Int[np.ndarray, " chosen"]:
    judged = rankings.judged
    if asked.of == "all":
        return np.arange(len(judged.kind))
    if asked.of == "confirmed":
        return np.flatnonzero(judged.survives & (judged.kind == CLASSES.index("chat-only")))
    if asked.of != "top":
        return np.flatnonzero(judged.kind == CLASSES.index(asked.of))
    alive = np.flatnonzero(judged.kind != DEAD)
    count = asked.count if asked.count is not None else round((asked.share or 0) * len(alive))
    order = np.argsort(-judged.delta[alive], kind="stable")
    return np.sort(alive[order[: max(count, 1)]])


def _halves(
    rankings: Rankings,
    asked: LatentSetConfig,
    members: Int[np.ndarray, " chosen"],
    n_random: int,
    seed: tuple[int, int],
) -> list[LatentSet]:
    half = len(members) // 2
    if not half:
        return []
    out = []
    for by in asked.halves:
        order = members[np.argsort(-rankings.scores[by][members], kind="stable")]
        for name, chosen in (("best", order[:half]), ("worst", order[-half:])):
            out.append(LatentSet(asked.name, name, by, None, tuple(sorted(chosen.tolist()))))
    for draw in range(n_random):
        chosen = np.random.default_rng((*seed, draw)).permutation(members)[:half]
        out.append(LatentSet(asked.name, "random", None, draw, tuple(sorted(chosen.tolist()))))
    return out


def _ranks(values: Float[np.ndarray, " latent"]) -> Float[np.ndarray, " latent"]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)
