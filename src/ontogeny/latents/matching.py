"""Which latent of one dictionary is which of another: one-to-one, so that the summed similarity is largest."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError

NONE = -1
"""Stands for "no partner" in arrays of partners."""
DENSE_PAIRS = 1 << 24
"""Up to this many pairs of directions the whole table of similarities is made and solved (128 MB in float64)."""
BLOCK_PAIRS = 1 << 24
"""Similarities held at a time where only the best of them are kept."""


@dataclass(frozen=True)
class Matching:
    """Partners of things called latents, at most one each and no partner twice.

    `match` [latent] is the partner's index, −1 where there is none; `similarity` [latent] theirs, NaN where there is
    none. `nearest` and `best` [latent] are the most similar one and its similarity, whoever else claims it.
    """

    match: Int[np.ndarray, " latent"]
    similarity: Float[np.ndarray, " latent"]
    nearest: Int[np.ndarray, " latent"]
    best: Float[np.ndarray, " latent"]

    @property
    def matched(self) -> Bool[np.ndarray, " latent"]:
        """Who has a partner."""
        return self.match != NONE

    @property
    def mean(self) -> float:
        """The mean similarity of the pairs; NaN without any."""
        return float(self.similarity[self.matched].mean()) if self.matched.any() else float("nan")


def match_scores(scores: Float[np.ndarray, "row column"], least: float | None = None) -> Matching:
    """The one-to-one pairs of rows and columns with the largest sum of scores (Hungarian), for any finite score.

    argmax over injective π of Σ_i scores[i, π(i)], of as many pairs as the shorter side has; with `least`, of the pairs
    whose score is above it, and of Σ_i (scores[i, π(i)] − least): a poor pair is then no better than none, and bends no
    other. NaN marks a pair that may not be. Source: Kuhn 1955; Crouse 2016 (scipy).
    """
    n_rows = len(scores)
    usable = np.isfinite(scores) if least is None else np.nan_to_num(scores, nan=least) > least
    if not usable.any():
        return _unmatched(n_rows)
    # With no least score, one forbidden pair costs more than all that any other choice could gain.
    lowest, span = float(scores[usable].min()), float(np.ptp(scores[usable])) + 1.0
    worst = lowest - span * (min(scores.shape) + 1) if least is None else least
    rows, columns = linear_sum_assignment(np.where(usable, scores, worst), maximize=True)
    rows, columns = rows[usable[rows, columns]], columns[usable[rows, columns]]
    best = np.where(np.isfinite(scores), scores, -np.inf)
    return _matching(n_rows, rows, columns, scores[rows, columns], best.argmax(axis=1), best.max(axis=1))


def match_directions(
    first: Float[Tensor, "latent width"],
    second: Float[Tensor, "other width"],
    *,
    candidates: int = 32,
    dense_pairs: int = DENSE_PAIRS,
) -> Matching:
    """Match directions one to one by cosine; the numbers of latents may differ. A zero direction has no partner.

    Only pairs of positive cosine are made. Exact up to `dense_pairs` pairs; beyond, a pair is considered if one is
    among the other's `candidates` most similar, and the best assignment among those is found exactly.
    """
    first, second = unit_rows(first), unit_rows(second)
    if len(first) * len(second) <= dense_pairs:
        cosines = (first @ second.T).double().cpu().numpy()
        cosines[~_directed(first)] = np.nan
        cosines[:, ~_directed(second)] = np.nan
        return match_scores(cosines, least=0.0)
    return _match_candidates(first, second, candidates)


def match_dictionaries(
    first: Crosscoder, second: Crosscoder, *, candidates: int = 32, dense_pairs: int = DENSE_PAIRS
) -> Matching:
    """Match the latents of two dictionaries by the cosine of their decoders, concatenated over the sources of both.

    cos = Σ_s ⟨a_s, b_s⟩ / (‖a‖ ‖b‖), in normalised space: a source counts by how much of the latent lives there.
    AnalysisError where the two write no source of the same name, or widths differ.
    """
    places = common_sources(first, second)
    a = concatenate_decoders(first, [here for here, _ in places])
    b = concatenate_decoders(second, [there for _, there in places])
    return match_directions(a, b.to(a.device), candidates=candidates, dense_pairs=dense_pairs)


def common_sources(first: Crosscoder, second: Crosscoder) -> list[tuple[int, int]]:
    """Places of the sources that both dictionaries write, by name, in the first one's order."""
    there = {name: place for place, name in enumerate(second.sources_out)}
    places = [(place, there[name]) for place, name in enumerate(first.sources_out) if name in there]
    if not places:
        raise AnalysisError(
            f"the two dictionaries write no source of the same name ({', '.join(first.sources_out[:4])} … and "
            f"{', '.join(second.sources_out[:4])} …), so their latents cannot be matched; compare dictionaries of one "
            "series."
        )
    if first.d_out != second.d_out:
        raise AnalysisError(
            f"the two dictionaries write activations of widths {first.d_out} and {second.d_out}; latents are matched "
            "within one width only."
        )
    return places


@torch.no_grad()
def concatenate_decoders(dictionary: Crosscoder, sources: list[int]) -> Float[Tensor, "latent width"]:
    """W_dec of the chosen sources side by side, float32, in normalised space (after folding too)."""
    chosen = dictionary.W_dec.detach()[:, sources].float()
    # After folding the decoder is in activation units; the norms that the dictionary keeps are not.
    scale = dictionary.decoder_norms().detach()[:, sources].float() / chosen.norm(dim=2).clamp_min(1e-30)
    return (chosen * scale[:, :, None]).flatten(1)


def random_decoders(norms: Float[Tensor, "latent source"], d_model: int, seed: int) -> Float[Tensor, "latent width"]:
    """The null control: decoders of the given norms whose directions are uniform on the sphere, in every source apart.

    Their cosines say what dimension and number of latents alone give.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(*norms.shape, d_model, generator=generator)
    return (directions / directions.norm(dim=2, keepdim=True) * norms.float().cpu()[:, :, None]).flatten(1)


def unit_rows(directions: Float[Tensor, "latent width"]) -> Float[Tensor, "latent width"]:
    """Rows of length 1 in float32; zero rows stay zero."""
    directions = directions.float()
    return directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-30)


def find_best(
    first: Float[Tensor, "latent width"], second: Float[Tensor, "other width"], count: int
) -> tuple[Float[np.ndarray, "latent best"], Int[np.ndarray, "latent best"]]:
    """The largest dot products of every row with the rows of another matrix, and with which; best first.

    Made in blocks of rows, so that memory does not grow with latents x others.
    """
    count = min(count, len(second))
    step = max(BLOCK_PAIRS // max(len(second), 1), 1)
    found = [torch.topk(first[start : start + step] @ second.T, count, dim=1) for start in range(0, len(first), step)]
    values = [part.values.cpu() for part in found]
    places = [part.indices.cpu() for part in found]
    return torch.cat(values).double().numpy(), torch.cat(places).numpy()


def _match_candidates(
    first: Float[Tensor, "latent width"], second: Float[Tensor, "other width"], candidates: int
) -> Matching:
    """The best assignment among the pairs that are in either one's list of the most similar."""
    values, places = find_best(first, second, candidates)
    back_values, back_places = find_best(second, first, candidates)
    n_first, n_second = len(first), len(second)
    rows = np.concatenate([np.repeat(np.arange(n_first), places.shape[1]), back_places.ravel()])
    columns = np.concatenate([places.ravel(), np.repeat(np.arange(n_second), back_places.shape[1])])
    cosines = np.concatenate([values.ravel(), back_values.ravel()])
    kept = cosines > 0.0
    rows, columns, cosines = rows[kept], columns[kept], cosines[kept]
    _, once = np.unique(rows * n_second + columns, return_index=True)
    rows, columns, cosines = rows[once], columns[once], cosines[once]
    # Every row has a column of its own, at cosine 0, which stands for having no partner: a full matching exists. A cost
    # of exactly 0 would be no edge to scipy, hence 2 − cosine.
    own = np.arange(n_first)
    costs = csr_array(
        (
            np.concatenate([2.0 - cosines, np.full(n_first, 2.0)]),
            (np.concatenate([rows, own]), np.concatenate([columns, n_second + own])),
        ),
        shape=(n_first, n_second + n_first),
    )
    chosen_rows, chosen_columns = min_weight_full_bipartite_matching(costs)
    real = chosen_columns < n_second
    chosen_rows, chosen_columns = chosen_rows[real], chosen_columns[real]
    similarity = 2.0 - np.asarray(costs[chosen_rows, chosen_columns]).ravel()
    best = np.where(_directed(first), values[:, 0], -np.inf)
    return _matching(n_first, chosen_rows, chosen_columns, similarity, places[:, 0], best)


def _directed(rows: Float[Tensor, "latent width"]) -> Bool[np.ndarray, " latent"]:
    """Which rows are not zero."""
    directed: np.ndarray = (rows != 0).any(dim=1).cpu().numpy()
    return directed


def _matching(
    n_rows: int, rows: np.ndarray, columns: np.ndarray, similarity: np.ndarray, nearest: np.ndarray, best: np.ndarray
) -> Matching:
    matching = _unmatched(n_rows)
    matching.match[rows] = columns
    matching.similarity[rows] = similarity
    near = np.isfinite(best)
    matching.nearest[near] = nearest[near]
    matching.best[near] = best[near]
    return matching


def _unmatched(n_rows: int) -> Matching:
    none, missing = np.full(n_rows, NONE, dtype=np.int64), np.full(n_rows, np.nan)
    return Matching(none, missing, none.copy(), missing.copy())
