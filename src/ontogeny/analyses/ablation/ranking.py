"""Orders of latents by what the choosing half of the clusters says of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.ablation.config import Ranking
from ontogeny.interventions.effects import EffectPlan, IndirectEffects
from ontogeny.latents.clusters import renumber, sum_clusters
from ontogeny.latents.effect_sums import sum_by_cluster
from ontogeny.latents.relie import compute_size


@dataclass(frozen=True)
class Scores:
    """What latents are ranked by, [latent source] each; `latents`: those that move on any prompt, ascending.

    `effect`: mean indirect effect; `size`: over the source's total effect, less what noise adds; `share`: RelIE, 0
    where no source has a size; `norm`: decoder norm in normalised space; `norm_share`: over the series' sum;
    `activation`: mean over clean positions of contribution; `exact`: mean effect of patching it alone, NaN where it was
    not patched.
    """

    latents: Int[np.ndarray, "latent"]
    effect: Float[np.ndarray, "latent source"]
    size: Float[np.ndarray, "latent source"]
    share: Float[np.ndarray, "latent source"]
    norm: Float[np.ndarray, "latent source"]
    norm_share: Float[np.ndarray, "latent source"]
    activation: Float[np.ndarray, "latent source"]
    exact: Float[np.ndarray, "latent source"]

    def order(self, ranking: Ranking, source: int) -> Int[np.ndarray, "latent"]:
        """All latents, the first to be changed first; equal ones by index."""
        effect, size = self.effect[:, source], np.abs(self.effect[:, source])
        keys: dict[str, tuple[np.ndarray, ...]] = {
            "supporting": (effect,),
            "effect": (size,),
            "exact": (np.nan_to_num(np.abs(self.exact[:, source]), nan=-1.0), size),
            "relie": (self.share[:, source], self.size[:, source], size),
            "norm": (self.norm_share[:, source], self.norm[:, source]),
            "activation": (self.activation[:, source],),
        }
        return np.asarray(self.latents[np.lexsort([-key for key in reversed(keys[ranking])])])

    def at(self, values: Float[np.ndarray, "latent source"], latents: Int[np.ndarray, "chosen"]) -> np.ndarray:
        """Rows of one of the tables, [chosen source]; 0 for a latent that moves on no prompt."""
        place = np.minimum(np.searchsorted(self.latents, latents), max(len(self.latents) - 1, 0))
        here = self.latents[place] == latents
        return np.where(here[:, None], values[place], 0.0)


def compute_scores(
    plan: EffectPlan,
    effects: IndirectEffects,
    exact: Float[np.ndarray, "latent source"],
    clusters: Int[np.ndarray, "prompt"],
    chosen: Bool[np.ndarray, "prompt"],
    sources: Sequence[int],
    series: Sequence[Sequence[int]],
) -> Scores:
    """Scores over the prompts `chosen`; `sources`: the written source of each column of `effects`; `series`: which
    columns belong to one hook point."""
    numbers, n_clusters = renumber(clusters[chosen])
    of_prompt = np.full(len(clusters), -1)
    of_prompt[chosen] = numbers
    sums = sum_by_cluster(effects, of_prompt, n_clusters)
    total = sum_clusters(np.abs(effects.total[chosen]), numbers, n_clusters).mean
    size = compute_size(sums.mean, np.nan_to_num(sums.se), total)
    norm = plan.dictionary.decoder_norms().detach().double().cpu().numpy()[effects.active][:, list(sources)]
    share, norm_share = np.zeros_like(size), np.zeros_like(norm)
    for places in series:
        share[:, places], norm_share[:, places] = _shares(size[:, places]), _shares(norm[:, places])
    activation = np.stack([mean_activation(plan, source, chosen)[effects.active] for source in sources], axis=1) * norm
    return Scores(effects.active, sums.mean, size, share, norm, norm_share, activation, exact)


def _shares(size: Float[np.ndarray, "latent source"]) -> Float[np.ndarray, "latent source"]:
    total = size.sum(axis=1, keepdims=True)
    return np.divide(size, total, out=np.zeros_like(size), where=total > 0)


def mean_activation(plan: EffectPlan, source: int, chosen: Bool[np.ndarray, "prompt"]) -> Float[np.ndarray, "all"]:
    """Mean gated code of every latent over the positions of some prompts that move."""
    total, n_tokens = torch.zeros(plan.dictionary.n_latents, dtype=torch.float64), 0
    for batch in plan.batches:
        row = torch.from_numpy(chosen[batch.numbers])[batch.moves.nonzero()[:, 0].cpu()]
        n_tokens += int(row.sum())
        # Leaving the clean state takes a code away: those entries are negative, the baseline's are not.
        held = (-batch.change.difference[:, source]).clamp(min=0).double() * row[batch.change.token]
        total.index_add_(0, batch.change.latent, held)
    return (total / max(n_tokens, 1)).numpy()
