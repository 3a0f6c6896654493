"""Whose latents are whose: by relative decoder norm, and which absences survive latent scaling."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.base_chat.config import BaseChatConfig
from ontogeny.analyses.base_chat.pair import Pair
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.latents.betas import iter_scaling
from ontogeny.latents.documents import Documents
from ontogeny.latents.many_tests import adjust_p, compute_p
from ontogeny.latents.statistics import compute_group_shares
from ontogeny.latents.token_groups import GroupsOfPass

CLASSES = ("chat-only", "base-only", "shared", "other", "dead")
CHAT_ONLY, BASE_ONLY, SHARED, OTHER, DEAD = range(5)
LEAST_T = 2.0
"""t-value that a latent's beta must have in its own model for nu to mean anything."""


@dataclass(frozen=True)
class PairLatents:
    """Everything per latent; NaN where missing. nu: in the other model, along the decoder where it is larger."""

    n_active: Int[np.ndarray, " latent"]
    norms: Float[np.ndarray, "latent 2"]
    delta: Float[np.ndarray, " latent"]
    delta_raw: Float[np.ndarray, " latent"]
    kind: Int[np.ndarray, " latent"]
    kind_raw: Int[np.ndarray, " latent"]
    cosine: Float[np.ndarray, " latent"]
    in_chat: Bool[np.ndarray, " latent"]
    nu_error: Float[np.ndarray, " latent"]
    nu_error_se: Float[np.ndarray, " latent"]
    nu_reconstruction: Float[np.ndarray, " latent"]
    nu_reconstruction_se: Float[np.ndarray, " latent"]
    q_absent: Float[np.ndarray, " latent"]
    tested: Bool[np.ndarray, " latent"]
    survives: Bool[np.ndarray, " latent"]
    complete_shrinkage: Bool[np.ndarray, " latent"]
    latent_decoupling: Bool[np.ndarray, " latent"]


def compute_delta(norms: Float[np.ndarray, "latent 2"]) -> Float[np.ndarray, " latent"]:
    """((chat - base) / larger + 1) / 2 of decoder norms (base, chat): 1 = chat only, 0 = base only; NaN of 0 and 0."""
    larger = norms.max(1)
    return ((norms[:, 1] - norms[:, 0]) / np.where(larger > 0, larger, np.nan) + 1) / 2


def classify(
    delta: Float[np.ndarray, " latent"], n_active: Int[np.ndarray, " latent"], margin: float
) -> Int[np.ndarray, " latent"]:
    """Places in CLASSES: chat-only > 1 - margin, base-only < margin, shared within margin of 0.5.

    Latents that never fire, or have no norm, are dead. Source: Minder et al. 2025, with margin 0.1.
    """
    kind = np.full(len(delta), OTHER)
    kind[np.abs(delta - 0.5) < margin] = SHARED
    kind[delta > 1 - margin] = CHAT_ONLY
    kind[delta < margin] = BASE_ONLY
    kind[(n_active == 0) | np.isnan(delta)] = DEAD
    return kind


def judge_latents(inputs: AnalysisInputs, config: BaseChatConfig, pair: Pair) -> PairLatents:
    """Classes by norm and the tests of latent scaling."""
    dictionary = inputs.dictionary
    norms = pair.norms(dictionary)
    scale = dictionary.scale_out.double().cpu().numpy()[[pair.base, pair.chat]]
    parts = list(
        iter_scaling(
            inputs.accumulated,
            threshold_error=config.absent_error,
            threshold_reconstruction=config.absent_reconstruction,
        )
    )
    probe = np.concatenate([part.probe for part in parts])
    other = np.where(probe == pair.chat, pair.base, pair.chat)

    def of_other(name: str, field: str | None = None) -> np.ndarray:
        each = [getattr(part, name) if field is None else getattr(getattr(part, name), field) for part in parts]
        values: np.ndarray = np.take_along_axis(np.concatenate(each), other[:, None], 1)[:, 0]
        return values

    n_active = np.concatenate([part.n_active for part in parts])
    degrees = np.concatenate([part.n_clusters for part in parts]) - 1
    found = np.nan_to_num(np.concatenate([part.t_reference for part in parts]), posinf=np.inf) >= LEAST_T
    t_error, t_reconstruction = of_other("t_error"), of_other("t_reconstruction")
    tested = (n_active >= config.min_tokens) & found & ~np.isnan(t_error) & (degrees > 0)
    q = {
        (name, above): adjust_p(compute_p(np.where(tested, t, np.nan), degrees, above=above))
        for name, t in (("error", t_error), ("reconstruction", t_reconstruction))
        for above in (False, True)
    }
    delta, delta_raw = compute_delta(norms), compute_delta(norms / scale)
    kind = classify(delta, n_active, config.only_margin)
    only = np.isin(kind, (CHAT_ONLY, BASE_ONLY)) & tested
    level = config.false_discoveries
    unmeasured = (n_active < config.min_tokens) | ~found
    nu_error, nu_reconstruction = of_other("nu_error", "value"), of_other("nu_reconstruction", "value")
    absent = (q["error", False] <= level) & (nu_error > -config.absent_error)
    coupled = (q["reconstruction", False] <= level) & (nu_reconstruction > -config.absent_reconstruction)
    dead = kind == DEAD
    return PairLatents(
        n_active=n_active,
        norms=norms,
        delta=np.where(dead, np.nan, delta),
        delta_raw=np.where(dead, np.nan, delta_raw),
        kind=kind,
        kind_raw=classify(delta_raw, n_active, config.only_margin),
        cosine=np.where(dead, np.nan, _cosines(inputs, pair)),
        in_chat=probe == pair.chat,
        nu_error=np.where(unmeasured, np.nan, nu_error),
        nu_error_se=np.where(unmeasured, np.nan, of_other("nu_error", "se")),
        nu_reconstruction=np.where(unmeasured, np.nan, nu_reconstruction),
        nu_reconstruction_se=np.where(unmeasured, np.nan, of_other("nu_reconstruction", "se")),
        q_absent=q["error", False],
        tested=tested,
        survives=only & absent & coupled,
        complete_shrinkage=only & (q["error", True] <= level),
        latent_decoupling=only & (q["reconstruction", True] <= level),
    )


def _cosines(inputs: AnalysisInputs, pair: Pair) -> Float[np.ndarray, " latent"]:
    """Cosine of each latent's two decoders; NaN where one has no length."""
    W_dec = inputs.dictionary.W_dec.detach()
    base, chat = W_dec[:, pair.base].double(), W_dec[:, pair.chat].double()
    lengths = (base.norm(dim=1) * chat.norm(dim=1)).cpu().numpy()
    dots: np.ndarray = (base * chat).sum(1).cpu().numpy()
    return dots / np.where(lengths > 0, lengths, np.nan)


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
