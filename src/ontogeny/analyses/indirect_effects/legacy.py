"""The published numbers beside ours: means over the slots of padded batches, raw shares, pairs, groups by thresholds.

Source: github.com/bayazitdeniz/crosscoding-through-time, `attribution.py` and `vis.py` (arXiv 2509.05291), less one
factor: it multiplies every effect by how many columns its dataset happens to have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.indirect_effects.config import IndirectEffectsConfig
from ontogeny.errors import AnalysisError
from ontogeny.interventions.effects import IndirectEffects
from ontogeny.latents.relie import compute_legacy_pairs, compute_legacy_shares, legacy_classes, legacy_pairs


def slot_weights(lengths: Int[np.ndarray, "prompt"], batch: int) -> Float[np.ndarray, "prompt"]:
    """What a prompt's summed effect counts: 1 / (prompts of its batch · the longest of them · all prompts).

    Batches of neighbouring prompts are padded to their own longest; the mean is over all slots, padding included, and
    the sum of these means is divided by the number of prompts (the published `nodes_saved`).
    """
    weights = np.empty(len(lengths))
    for start in range(0, len(lengths), batch):
        part = lengths[start : start + batch]
        weights[start : start + batch] = 1 / (len(part) * part.max() * len(lengths))
    return weights


def check_legacy(series: Mapping[str, Sequence[int]]) -> None:
    """AnalysisError where a hook point has one snapshot: there is nothing to have a share of."""
    for hook_point, places in series.items():
        if len(places) < 2:
            raise AnalysisError(
                f"analyses.indirect_effects.legacy compares snapshots, and the dictionary has one at {hook_point}; "
                "leave legacy out, or train on two or three."
            )


def legacy_blocks(
    effects: IndirectEffects,
    weights: Float[np.ndarray, "prompt"],
    places: Sequence[int],
    names: Sequence[str],
    steps: Sequence[int | None],
    fixed: Mapping[str, Any],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Blocks of the tables `legacy` and `legacy_pairs` for one series of sources, in order of training.

    `names`, `steps`: of all sources; `fixed`: columns with one value. A latent that is not listed has no effect
    anywhere, and the published code gives it a share of 0.5 in every source.
    """
    nodes = effects.weighted_sums(weights)[:, list(places)].T
    shares = compute_legacy_shares(nodes)
    labels = tuple(names[place] for place in places)
    groups = legacy_classes(shares, labels)
    blocks: list[Mapping[str, Any]] = []
    for number, place in enumerate(places):
        order = np.argsort(-np.abs(nodes[number]), kind="stable")
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order))
        blocks.append(
            {
                **fixed,
                "latent": effects.active,
                "source": labels[number],
                "step": steps[place],
                "effect": nodes[number],
                "share": shares[number],
                "rank": rank.astype(np.int64),
                "group": groups,
            }
        )
    found = compute_legacy_pairs(nodes)
    pairs: list[Mapping[str, Any]] = [
        {**fixed, "latent": effects.active, "early": labels[early], "late": labels[late], "share": found[number]}
        for number, (early, late) in enumerate(legacy_pairs(len(places)))
    ]
    return blocks, pairs


def tell_legacy(behaviour: str, effects: IndirectEffects, config: IndirectEffectsConfig) -> str:
    """A sentence: which reading, and how much the threshold leaves."""
    kept = float((effects.values != 0).mean()) if effects.values.size else 0.0
    return (
        f"{behaviour}: published numbers {str(config.legacy).replace('_', ' ')} are in the tables legacy and "
        f"legacy_pairs; effects of at most {config.legacy_threshold:g} nats at a position count as 0 in all tables, "
        f"which leaves {kept:.0%} of them."
    )
