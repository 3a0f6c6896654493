"""Whose latents are whose: by relative decoder norm, and which absences survive latent scaling."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.betas import iter_scaling
from ontogeny.latents.many_tests import adjust_p, compute_p
from ontogeny.latents.pair import BASE_ONLY, CHAT_ONLY, DEAD, Pair, classify, compute_delta
from ontogeny.latents.scaling import ScalingSums

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


@dataclass(frozen=True)
class Verdicts:
    """When a latent is a model's own.

    only_margin: of delta_norm, as in `classify`. An only-latent survives where nu_error in the other model is below
    `absent_error` and nu_reconstruction below `absent_reconstruction`, at a false discovery rate over all latents
    that fire on `min_tokens`.
    """

    only_margin: float = 0.1
    absent_error: float = 0.2
    absent_reconstruction: float = 0.5
    false_discoveries: float = 0.05
    min_tokens: int = 10


def judge_latents(sums: ScalingSums, dictionary: Crosscoder, pair: Pair, verdicts: Verdicts) -> PairLatents:
    """Classes by norm, and the tests of latent scaling on the sums of `pair.scaling`, probes being the pair's."""
    norms = pair.norms(dictionary)
    scale = dictionary.scale_out.double().cpu().numpy()[[pair.base, pair.chat]]
    parts = list(
        iter_scaling(
            sums,
            threshold_error=verdicts.absent_error,
            threshold_reconstruction=verdicts.absent_reconstruction,
        )
    )
    probe = np.concatenate([part.probe for part in parts])
    # The targets are base and chat, in this order.
    other = 1 - probe

    def of_other(name: str, field: str | None = None) -> np.ndarray:
        each = [getattr(part, name) if field is None else getattr(getattr(part, name), field) for part in parts]
        values: np.ndarray = np.take_along_axis(np.concatenate(each), other[:, None], 1)[:, 0]
        return values

    n_active = np.concatenate([part.n_active for part in parts])
    degrees = np.concatenate([part.n_clusters for part in parts]) - 1
    found = np.nan_to_num(np.concatenate([part.t_reference for part in parts]), posinf=np.inf) >= LEAST_T
    t_error, t_reconstruction = of_other("t_error"), of_other("t_reconstruction")
    tested = (n_active >= verdicts.min_tokens) & found & ~np.isnan(t_error) & (degrees > 0)
    q = {
        (name, above): adjust_p(compute_p(np.where(tested, t, np.nan), degrees, above=above))
        for name, t in (("error", t_error), ("reconstruction", t_reconstruction))
        for above in (False, True)
    }
    delta, delta_raw = compute_delta(norms), compute_delta(norms / scale)
    kind = classify(delta, n_active, verdicts.only_margin)
    only = np.isin(kind, (CHAT_ONLY, BASE_ONLY)) & tested
    level = verdicts.false_discoveries
    unmeasured = (n_active < verdicts.min_tokens) | ~found
    nu_error, nu_reconstruction = of_other("nu_error", "value"), of_other("nu_reconstruction", "value")
    absent = (q["error", False] <= level) & (nu_error > -verdicts.absent_error)
    coupled = (q["reconstruction", False] <= level) & (nu_reconstruction > -verdicts.absent_reconstruction)
    dead = kind == DEAD
    return PairLatents(
        n_active=n_active,
        norms=norms,
        delta=np.where(dead, np.nan, delta),
        delta_raw=np.where(dead, np.nan, delta_raw),
        kind=kind,
        kind_raw=classify(delta_raw, n_active, verdicts.only_margin),
        cosine=np.where(dead, np.nan, _cosines(dictionary, pair)),
        in_chat=probe == 1,
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


def _cosines(dictionary: Crosscoder, pair: Pair) -> Float[np.ndarray, " latent"]:
    """Cosine of each latent's two decoders; NaN where one has no length."""
    W_dec = dictionary.W_dec.detach()
    base, chat = W_dec[:, pair.base].double(), W_dec[:, pair.chat].double()
    lengths = (base.norm(dim=1) * chat.norm(dim=1)).cpu().numpy()
    dots: np.ndarray = (base * chat).sum(1).cpu().numpy()
    return dots / np.where(lengths > 0, lengths, np.nan)
