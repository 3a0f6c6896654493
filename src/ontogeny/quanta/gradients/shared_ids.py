"""Products of gradients of an embedding table: a sum S_i[v] of vectors for every id v in a sample's context."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAIRS_AT_A_TIME = 4096


def sum_by_id(
    sample: Int[Tensor, " position"], ids: Int[Tensor, " position"], vectors: Float[Tensor, "position d_model"]
) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Float[Tensor, "pair d_model"]]:
    """(sample, id, sum of vectors) of every pair that occurs."""
    pairs, place = torch.unique(torch.stack([sample, ids], dim=1), dim=0, return_inverse=True)
    summed = vectors.new_zeros(len(pairs), vectors.shape[1]).index_add_(0, place, vectors)
    return pairs[:, 0], pairs[:, 1], summed


def add_shared_ids(
    total: Float[Tensor, "sample sample"],
    sample: Int[Tensor, " pair"],
    ids: Int[Tensor, " pair"],
    vectors: Float[Tensor, "pair d_model"],
) -> None:
    """total[i, j] += Σ over shared ids S_i[v] · S_j[v]; both triangles, of which the upper one counts."""
    order = torch.argsort(ids, stable=True)
    sizes = torch.unique_consecutive(ids[order], return_counts=True)[1]
    for members in order.split(sizes.tolist()):
        at = sample[members]
        total[at[:, None], at] += (vectors[members] @ vectors[members].T).to(total)


def add_tied(
    total: Float[Tensor, "sample sample"],
    sample: Int[Tensor, " pair"],
    ids: Int[Tensor, " pair"],
    vectors: Float[Tensor, "pair d_model"],
    logit_gradients: Float[Tensor, "sample vocabulary"],
    normed: Float[Tensor, "sample d_model"],
) -> None:
    """What a matrix at both ends adds: S_i · (u_j h_jᵀ) = Σ_v u_j[v] (S_i[v] · h_j), and that with i and j changed."""
    cross = torch.zeros_like(total)
    for at in torch.arange(len(ids)).split(PAIRS_AT_A_TIME):
        products = (vectors[at] @ normed.T) * logit_gradients[:, ids[at]].T
        cross.index_add_(0, sample[at], products.to(cross))
    total += cross + cross.T
