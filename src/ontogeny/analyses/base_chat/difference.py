"""What needs no dictionary: the mean difference of the activations, and its principal components."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.activations.stream import TokenColumns
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.evaluation.groups import TokenGroups
from ontogeny.interventions.sources import source_positions
from ontogeny.latents.pair import Pair
from ontogeny.latents.scaling import N_BLOCKS, block_of

BATCH = 8_192


@dataclass(frozen=True)
class Difference:
    """Sums over held-out tokens of chat - base, in raw activations; float64.

    Documents are hashed into blocks, of which the even ones make one half and the odd ones the other.
    """

    groups: tuple[str, ...]
    count: Float[np.ndarray, "group block"]
    total: Float[np.ndarray, "group block d_model"]
    square: Float[np.ndarray, " group"]
    base_norm: Float[np.ndarray, " group"]
    """Sum of the base model's norms."""
    second: Float[np.ndarray, "half d_model d_model"]
    """Sum of d d^T over all tokens of each half."""


def sum_difference(inputs: AnalysisInputs, pair: Pair) -> Difference:
    """One pass over the held-out activations of the two sources."""
    groups, d_model = TokenGroups(inputs.corpus), inputs.held_out.d_model
    names = groups.names
    count, total = np.zeros((len(names), N_BLOCKS)), np.zeros((len(names), N_BLOCKS, d_model))
    square, base_norm = np.zeros(len(names)), np.zeros(len(names))
    second = torch.zeros(2, d_model, d_model, dtype=torch.float64, device=inputs.device)
    for base, chat, columns in _iter_pairs(inputs, pair):
        d = chat - base
        blocks = block_of(columns.document, columns.row)
        for half in (0, 1):
            part = d[torch.from_numpy(blocks % 2 == half).to(d.device)].double()
            second[half] += part.T @ part
        norms, squares = base.norm(dim=1).double().cpu().numpy(), d.double().square().sum(1).cpu().numpy()
        for group, member in enumerate(groups.members(columns.row, columns.position)):
            chosen = torch.from_numpy(member).to(d.device)
            sums = torch.zeros(N_BLOCKS, d_model, dtype=torch.float64, device=d.device)
            sums.index_add_(0, torch.from_numpy(blocks[member]).to(d.device), d[chosen].double())
            total[group] += sums.cpu().numpy()
            count[group] += np.bincount(blocks[member], minlength=N_BLOCKS)
            square[group] += squares[member].sum()
            base_norm[group] += norms[member].sum()
    return Difference(names, count, total, square, base_norm, second.cpu().numpy())


def _iter_pairs(
    inputs: AnalysisInputs, pair: Pair
) -> Iterator[tuple[Float[Tensor, "token d_model"], Float[Tensor, "token d_model"], TokenColumns]]:
    """(base, chat, where from) of the kept held-out tokens, float32."""
    store = inputs.held_out
    names = [pair.base_source.name, pair.chat_source.name]
    places = source_positions(store.sources, names)
    for batch in store.iter_batches(BATCH, epochs=1):
        base, chat = (batch.x[:, place].to(inputs.device, torch.float32) for place in places)
        columns = TokenColumns(batch.token, batch.document, batch.position, batch.row, batch.text_source)
        yield base, chat, columns


def mean_rows(difference: Difference) -> tuple[list[dict[str, str | int | float | None]], Float[np.ndarray, "group d"]]:
    """One row a group that holds tokens, and the mean vectors of those groups.

    norm: ||mean of d||, with the bias of its noise taken off: norm^2 - trace of the mean's covariance over documents;
    its standard error by the jackknife over blocks of documents. share: norm^2 / mean ||d||^2.
    """
    rows, means = [], []
    for group, name in enumerate(difference.groups):
        n = difference.count[group].sum()
        if n == 0:
            continue
        mean = difference.total[group].sum(0) / n
        norm, error = _norm_of_mean(difference.total[group], difference.count[group])
        square = difference.square[group] / n
        rows.append(
            {
                "group": name,
                "n": int(n),
                "norm": norm,
                "norm_se": error,
                "relative": norm / (difference.base_norm[group] / n),
                "share": norm**2 / square if square > 0 else None,
                "rms": float(np.sqrt(square)),
            }
        )
        means.append(mean)
    return rows, np.stack(means)


def _norm_of_mean(
    total: Float[np.ndarray, "block d"], count: Float[np.ndarray, " block"]
) -> tuple[float, float | None]:
    """sqrt(max(||m||^2 - tr Cov(m), 0)) of a mean over clusters, and its jackknife standard error."""
    filled = count > 0
    m = int(filled.sum())
    mean = total.sum(0) / count.sum()
    if m < 2:
        return float(np.linalg.norm(mean)), None
    left = (total.sum(0) - total[filled]) / (count.sum() - count[filled])[:, None]
    noise = (m - 1) / m * np.square(left - left.mean(0)).sum()
    norms = np.linalg.norm(left, axis=1)
    error = float(np.sqrt((m - 1) / m * np.square(norms - norms.mean()).sum()))
    return float(np.sqrt(max(mean @ mean - noise, 0.0))), error


@dataclass(frozen=True)
class Components:
    """Principal components of the difference about its mean, the largest first."""

    directions: Float[np.ndarray, "component d_model"]
    share: Float[np.ndarray, " component"]
    """Share of the variance."""
    agreement: Float[np.ndarray, " component"]
    """|cosine| with the nearest of as many components of the one half of the documents found on the other half."""
    cosine_mean: Float[np.ndarray, " component"]
    """Cosine with the mean difference."""
    n_tokens: int


def find_components(difference: Difference, count: int) -> Components:
    """Eigenvectors of the covariance of the difference; the sign is that of a positive sum of cubes."""
    count = min(count, difference.second.shape[1])
    whole, mean, n_tokens = _covariance(difference, slice(None))
    values, vectors = np.linalg.eigh(whole)
    directions = vectors[:, ::-1][:, :count].T
    signs = np.where((directions**3).sum(1) < 0, -1.0, 1.0)
    directions = directions * signs[:, None]
    length = float(np.linalg.norm(mean))
    variance = max(float(values.sum()), np.finfo(np.float64).tiny)
    return Components(
        directions=directions,
        share=np.maximum(values[::-1][:count], 0) / variance,
        agreement=_agreement(difference, directions),
        cosine_mean=directions @ mean / length if length > 0 else np.full(count, np.nan),
        n_tokens=n_tokens,
    )


def _covariance(difference: Difference, half: slice | int) -> tuple[np.ndarray, Float[np.ndarray, " d"], int]:
    """(covariance, mean, tokens) over all tokens, or over one half of the blocks."""
    if isinstance(half, int):
        second, blocks = difference.second[half], slice(half, None, 2)
    else:
        second, blocks = difference.second.sum(0), slice(None)
    n = difference.count[0, blocks].sum()
    mean = difference.total[0, blocks].sum(0) / max(n, 1)
    return second / max(n, 1) - np.outer(mean, mean), mean, int(n)


def _agreement(difference: Difference, directions: Float[np.ndarray, "component d"]) -> Float[np.ndarray, " component"]:
    """How well each direction lies in both halves' leading subspaces: the smaller of its two lengths there; NaN where
    a half holds no token."""
    lengths = []
    for half in (0, 1):
        covariance, _, n = _covariance(difference, half)
        if n == 0:
            return np.full(len(directions), np.nan)
        leading = np.linalg.eigh(covariance)[1][:, ::-1][:, : len(directions)]
        lengths.append(np.linalg.norm(directions @ leading, axis=1))
    return np.minimum(*lengths)


def top_tokens(
    effects: Float[np.ndarray, "direction vocabulary"], count: int
) -> Iterator[tuple[int, str, int, int, float]]:
    """(direction, side, rank, token id, effect) of the largest effects of either sign."""
    for place, row in enumerate(effects):
        order: Int[np.ndarray, " token"] = np.argsort(-row, kind="stable")
        for side, ids in (("top", order[:count]), ("bottom", order[::-1][:count])):
            for rank, token in enumerate(ids):
                yield place, side, rank, int(token), float(row[token])
