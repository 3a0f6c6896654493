"""Which share of each latent's active tokens belongs to the template, the user, the assistant."""

import numpy as np
from jaxtyping import Float

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.latents.documents import Documents
from ontogeny.latents.statistics import compute_group_shares
from ontogeny.latents.token_groups import GroupsOfPass


def compute_mask_shares(
    inputs: AnalysisInputs, masks: tuple[str, ...]
) -> dict[str, tuple[Float[np.ndarray, " latent"], Float[np.ndarray, " latent"], float]]:
    """Mask -> (share of each latent's active tokens that it holds, its standard error, its share of all tokens).

    Only masks that hold a kept token; errors are clustered by document.
    """
    assert inputs.codes is not None, "the codes are among the needs"
    columns = inputs.codes.columns
    groups, documents = GroupsOfPass.from_columns(columns, inputs.corpus), Documents.from_columns(columns)
    present = [mask for mask in masks if f"mask/{mask}" in groups.names]
    if not present:
        return {}
    sizes = groups.sizes(documents)
    parts = [compute_group_shares(block, documents, groups, sizes) for block in inputs.codes.iter_blocks()]
    shares = {}
    for mask in present:
        place = groups.names.index(f"mask/{mask}")
        share, error = (
            np.concatenate([getattr(each, name)[:, place] for each in parts]) for name in ("share", "share_se")
        )
        shares[mask] = share, error, float(sizes[place].sum() / documents.n_tokens.sum())
    return shares
