"""Two dictionaries over the tiny series' two hook points, and the plan of edges between them."""

from collections.abc import Sequence

import numpy as np
import torch

from interventions.tiny_prompts import tiny_dictionary
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.edges import EdgePlan
from ontogeny.interventions.effect_batches import PromptActivations, build_effect_batches, moving_positions
from ontogeny.interventions.effects import Baseline, EffectPlan
from ontogeny.interventions.prompts import Prompts, clean_prompts, patch_prompts, read_prompts
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs import PairTokens
from ontogeny.types import HookPoint

START, END = HookPoint.parse("resid_pre.1"), HookPoint.parse("resid_post.1")


def make_plan(
    models: list[HookedModel],
    dictionary: Crosscoder,
    pairs: PairTokens,
    point: HookPoint,
    baseline: Baseline = "pair",
    batch: int = 3,
) -> EffectPlan:
    """The effects of latents at one hook point of some models, one source each."""

    def read(prompts: Prompts) -> PromptActivations:
        values = torch.stack([read_prompts(model, prompts, point) for model in models], dim=2)
        return PromptActivations(values, tuple(range(len(models))), tuple(range(len(models))))

    clean, patch = clean_prompts(pairs), patch_prompts(pairs)
    batches, mean = build_effect_batches(
        dictionary,
        clean,
        read(clean),
        moving_positions(clean),
        baseline=baseline,
        patched=None if patch is None else read(patch),
        batch=batch,
    )
    return EffectPlan(dictionary, [point] * len(models), batches, mean, baseline=baseline)


def tiny_edges(
    series: SnapshotSeries,
    pairs: PairTokens,
    kind: str = "topk",
    gate: str = "shared",
    baseline: Baseline = "pair",
    starts: Sequence[int] = (1, 4, 9, 20),
    ends: Sequence[int] = (0, 3, 7, 8, 15),
    models: list[HookedModel] | None = None,
) -> tuple[EdgePlan, list[HookedModel]]:
    """Edges over both snapshots, from what enters block 1 to what leaves it."""
    models = [series.open(index) for index in range(len(series))] if models is None else models
    plans = [
        make_plan(models, tiny_dictionary(seed, kind, gate), pairs, point, baseline)
        for seed, point in ((3, START), (5, END))
    ]
    return EdgePlan(plans[0], plans[1], np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)), models
