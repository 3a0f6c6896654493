"""Prompts over the tiny series' vocabulary, a random dictionary, and what both give."""

import numpy as np
import torch
from torch import Tensor

from interventions.tiny_series import D_MODEL, HOOK_POINT, VOCABULARY
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.effect_batches import PromptActivations, build_effect_batches, moving_positions
from ontogeny.interventions.effects import Baseline, EffectPlan, IndirectEffects, Path
from ontogeny.interventions.paths import Rule
from ontogeny.interventions.prompts import Prompts, clean_prompts, patch_prompts, read_prompts
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs import MinimalPair, PairTokens

NAMES = ("step0", "step8")
N_LATENTS, LONGEST = 24, 9


def tiny_pairs(n: int = 7, seed: int = 0) -> PairTokens:
    """Random prefixes of several lengths that differ in one token, two answers each; every two pairs a cluster."""
    draw = np.random.default_rng(seed)
    length = draw.integers(4, LONGEST + 1, n)
    clean = draw.integers(1, VOCABULARY, (n, LONGEST))
    patch = clean.copy()
    patch[:, 2] = (clean[:, 2] + draw.integers(1, VOCABULARY - 1, n)) % (VOCABULARY - 1) + 1
    right = draw.integers(1, VOCABULARY // 2, n)
    wrong = right + draw.integers(1, VOCABULARY // 2, n)
    pairs = tuple(MinimalPair(f"c{i}", "r", "w", f"p{i}", str(i // 2)) for i in range(n))
    return PairTokens(clean, patch, length, length.copy(), right, wrong, np.arange(n) // 2, pairs)


def tiny_dictionary(seed: int = 3, kind: str = "relu", gate: str = "shared") -> Crosscoder:
    """Random weights with unequal norms, scales and centres."""
    torch.manual_seed(seed)
    activation = {"kind": "topk", "k": 5} if kind == "topk" else {"kind": kind}
    config = CrosscoderConfig.model_validate(
        {"n_latents": N_LATENTS, "activation": activation, "gate": gate, "aux_k": None}
    )
    made = Crosscoder(config, NAMES, d_model=D_MODEL)
    with torch.no_grad():
        made.W_dec.mul_(torch.rand(N_LATENTS, 2, 1) * 3 + 0.2)
        made.b_dec.normal_(std=0.1)
    made.set_scales(torch.tensor([1.7, 0.4]), torch.randn(2, D_MODEL) * 0.2)
    return made.eval()


def read_all(series: SnapshotSeries, prompts: Prompts) -> PromptActivations:
    """Activations of both snapshots."""
    read = [read_prompts(series.open(index), prompts, HOOK_POINT) for index in range(len(series))]
    return PromptActivations(torch.stack(read, dim=2), (0, 1), (0, 1))


def tiny_plan(
    series: SnapshotSeries,
    dictionary: Crosscoder,
    pairs: PairTokens,
    *,
    baseline: Baseline = "pair",
    path: Path = "joint",
    rule: Rule = "left",
    steps: int = 1,
    skip_first: int = 1,
) -> EffectPlan:
    """What is attributed, in batches of three prompts."""
    clean, patch = clean_prompts(pairs), patch_prompts(pairs)
    patched = None if patch is None else read_all(series, patch)
    moves = moving_positions(clean, skip_first)
    batches, mean = build_effect_batches(
        dictionary, clean, read_all(series, clean), moves, baseline=baseline, patched=patched, batch=3
    )
    return EffectPlan(dictionary, [HOOK_POINT] * 2, batches, mean, baseline=baseline, path=path, rule=rule, steps=steps)


def attribute(series: SnapshotSeries, plan: EffectPlan) -> IndirectEffects:
    """Effects in both snapshots."""
    return plan.gather([plan.compute_source(series.open(index), index) for index in range(len(series))])


def dense_effects(effects: IndirectEffects) -> Tensor:
    """[prompt latent source]"""
    out = torch.zeros(effects.n_prompts, effects.n_latents, effects.values.shape[1], dtype=torch.float64)
    out[torch.from_numpy(effects.prompt), torch.from_numpy(effects.latent)] = torch.from_numpy(effects.values)
    return out
