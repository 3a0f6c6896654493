"""Effects against autograd through dense codes in float64, against patching by hand, and under changes of gauge."""

import numpy as np
import pytest
import torch
from torch import Tensor

from interventions.tiny_prompts import (
    N_LATENTS,
    attribute,
    dense_effects,
    read_all,
    tiny_dictionary,
    tiny_pairs,
    tiny_plan,
)
from interventions.tiny_series import tiny_series
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError
from ontogeny.interventions.effect_batches import moving_positions
from ontogeny.interventions.effects import Baseline, EffectPlan, Path
from ontogeny.interventions.paths import quadrature
from ontogeny.interventions.prompts import Prompts, clean_prompts, patch_prompts
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs import PairTokens

KINDS = [("relu", "shared"), ("topk", "shared"), ("topk", "per_source")]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("family"))


def dense_codes(dictionary: Crosscoder, x: Tensor) -> Tensor:
    """Gated codes as a table [prompt position source latent], float64."""
    codes = dictionary.encode(x.flatten(0, 1)).sparse()
    table = torch.stack([codes.dense(source) for source in range(2)], dim=1)
    return table.detach().double().unflatten(0, x.shape[:2])


def brute_force(
    series: SnapshotSeries, dictionary: Crosscoder, pairs: PairTokens, source: int, baseline: Baseline, steps: int
) -> tuple[Tensor, Tensor]:
    """Left-rule effects of every latent by F-dimensional autograd, and of the error: [prompt latent], [prompt]."""
    clean, patch = clean_prompts(pairs), patch_prompts(pairs)
    assert patch is not None
    x, other = read_all(series, clean).values, read_all(series, patch).values
    moves = moving_positions(clean)
    f, f_other = (dense_codes(dictionary, each)[:, :, source] for each in (x, other))
    scale, centre = dictionary.scale_out[source].double(), dictionary.centre_out[source].double()
    directions = dictionary.W_dec[:, source].detach().double() / scale
    offset = dictionary.b_dec[source].detach().double() / scale + centre
    error, error_other = (
        each[:, :, source].double() - codes @ directions - offset for each, codes in ((x, f), (other, f_other))
    )
    if baseline == "zero":
        f_other, error_other = torch.zeros_like(f), torch.zeros_like(error)
    if baseline == "mean":
        both = torch.cat([f[moves], f_other[moves]])
        f_other = both.mean(0).expand_as(f)
        rows = torch.cat([x[:, :, source][moves], other[:, :, source][moves]]).double()
        error_other = (rows.mean(0) - f_other[0, 0] @ directions - offset).expand_as(error)
    module = series.open(source).module.double()
    rows_of = torch.arange(len(pairs))
    totals = [torch.zeros_like(f), torch.zeros_like(error)]
    for node, weight in zip(*quadrature("left", steps), strict=True):
        codes = torch.lerp(f, f_other, float(node)).requires_grad_()
        rest = torch.lerp(error, error_other, float(node)).requires_grad_()
        state = torch.where(moves[..., None], codes @ directions + offset + rest, x[:, :, source].double())
        handle = module.gpt_neox.layers[0].register_forward_hook(lambda *_, value=state: value)
        final = module(clean.tokens).logits[rows_of, clean.last]
        handle.remove()
        metric = final[rows_of, clean.wrong] - final[rows_of, clean.right]
        for total, gradient in zip(totals, torch.autograd.grad(metric.sum(), (codes, rest)), strict=True):
            total += float(weight) * gradient
    latents = (totals[0] * (f_other - f) * moves[..., None]).sum(1)
    return latents, (totals[1] * (error_other - error) * moves[..., None]).sum((1, 2))


@pytest.mark.parametrize(("kind", "gate"), KINDS)
@pytest.mark.parametrize("baseline", ["pair", "zero", "mean"])
def test_effects_are_those_of_autograd_through_dense_codes(
    series: SnapshotSeries, kind: str, gate: str, baseline: Baseline
) -> None:
    dictionary, pairs = tiny_dictionary(kind=kind, gate=gate), tiny_pairs()
    effects = attribute(series, tiny_plan(series, dictionary, pairs, baseline=baseline, steps=3))
    found = dense_effects(effects)
    for source in range(2):
        latents, error = brute_force(series, dictionary, pairs, source, baseline, 3)
        assert float(latents.abs().max()) > 1e-3
        assert torch.allclose(found[:, :, source], latents, atol=2e-5 * float(latents.abs().max()))
        assert np.allclose(effects.error[:, source], error, atol=2e-5 * float(latents.abs().max()))


def test_keys_are_sorted_and_only_active_latents_are_kept(series: SnapshotSeries) -> None:
    effects = attribute(series, tiny_plan(series, tiny_dictionary(kind="topk"), tiny_pairs()))
    keys = effects.prompt * N_LATENTS + effects.latent
    assert (np.diff(keys) > 0).all() and len(keys) < 0.9 * effects.n_prompts * N_LATENTS
    weights = np.random.default_rng(0).random(effects.n_prompts)
    summed = torch.einsum("plk,p->lk", dense_effects(effects), torch.from_numpy(weights))
    assert np.allclose(effects.weighted_sums(weights), summed[effects.active])


@pytest.mark.parametrize("baseline", ["pair", "zero", "mean"])
def test_latents_and_error_together_come_to_what_the_path_changes(series: SnapshotSeries, baseline: Baseline) -> None:
    gaps = []
    for steps in (1, 8, 64):
        dictionary = tiny_dictionary()
        # Towards the zero vector gradients explode (the norms are scale-free): end the path elsewhere.
        dictionary.centre_out.normal_(std=1.0, generator=torch.Generator().manual_seed(1))
        plan = tiny_plan(series, dictionary, tiny_pairs(), baseline=baseline, rule="mid", steps=steps)
        gaps.append(attribute(series, plan).completeness_gap())
    assert (gaps[2] < 2e-3).all() and (gaps[2] <= gaps[0] + 1e-6).all()


def test_with_the_error_kept_latents_alone_come_to_it(series: SnapshotSeries) -> None:
    plan = tiny_plan(series, tiny_dictionary(), tiny_pairs(), path="error_kept", rule="mid", steps=64)
    effects = attribute(series, plan)
    assert (effects.error == 0).all() and (effects.completeness_gap() < 2e-3).all()


def swapped(pairs: PairTokens) -> PairTokens:
    assert pairs.patch is not None
    return PairTokens(
        pairs.patch,
        pairs.clean,
        pairs.length,
        pairs.length,
        pairs.right,
        pairs.wrong,
        pairs.cluster,
        pairs.pairs,
    )


def test_the_way_back_has_the_opposite_effects(series: SnapshotSeries) -> None:
    # Every position moves, so that clean and patch prompts differ in nothing else.
    there, back = (
        attribute(series, tiny_plan(series, tiny_dictionary(), pairs, rule="mid", steps=4, skip_first=0))
        for pairs in (tiny_pairs(), swapped(tiny_pairs()))
    )
    assert torch.allclose(dense_effects(there), -dense_effects(back), atol=1e-4)
    assert np.allclose(there.start, back.end, atol=1e-5)


def test_effects_do_not_depend_on_the_gauge_of_a_latent(series: SnapshotSeries) -> None:
    dictionary, gauge = tiny_dictionary(), torch.rand(N_LATENTS) * 4 + 0.1
    before = attribute(series, tiny_plan(series, dictionary, tiny_pairs(), steps=2))
    with torch.no_grad():
        dictionary.W_enc.mul_(gauge[:, None, None])
        dictionary.b_enc.mul_(gauge)
        dictionary.W_dec.div_(gauge[:, None, None])
    after = attribute(series, tiny_plan(series, dictionary, tiny_pairs(), steps=2))
    assert torch.allclose(dense_effects(before), dense_effects(after), atol=1e-4)


@pytest.mark.parametrize(("kind", "gate"), KINDS)
def test_folding_the_scales_changes_no_effect(series: SnapshotSeries, kind: str, gate: str) -> None:
    dictionary = tiny_dictionary(kind=kind, gate=gate)
    before = attribute(series, tiny_plan(series, dictionary, tiny_pairs(), steps=2))
    after = attribute(series, tiny_plan(series, dictionary.fold_scales().eval(), tiny_pairs(), steps=2))
    assert torch.allclose(dense_effects(before), dense_effects(after), atol=1e-4)


@pytest.mark.parametrize("baseline", ["pair", "zero", "mean"])
def test_exact_patching_is_a_hook_by_hand(series: SnapshotSeries, baseline: Baseline) -> None:
    dictionary, pairs = tiny_dictionary(kind="topk", gate="per_source"), tiny_pairs()
    plan = tiny_plan(series, dictionary, pairs, baseline=baseline)
    clean, patch = clean_prompts(pairs), patch_prompts(pairs)
    assert patch is not None
    moves = moving_positions(clean)
    x, other = (read_all(series, prompts).values for prompts in (clean, patch))
    chosen = np.arange(N_LATENTS)
    for source in range(2):
        model = series.open(source)
        found = plan.compute_exact(model, source, chosen)
        f, f_other = (dense_codes(dictionary, each)[:, :, source] for each in (x, other))
        if baseline == "zero":
            f_other = torch.zeros_like(f)
        if baseline == "mean":
            f_other = torch.cat([f[moves], f_other[moves]]).mean(0).expand_as(f)
        for latent in (0, 5, 11):
            by = (f_other - f)[:, :, latent] * moves
            direction = dictionary.W_dec[latent, source].double() / dictionary.scale_out[source]
            state = x[:, :, source] + (by[..., None] * direction).float()
            expected = metric_with(model.module, clean, state) - metric_with(model.module, clean, x[:, :, source])
            assert np.allclose(found[:, latent], expected, atol=2e-5)


def metric_with(module: torch.nn.Module, prompts: Prompts, state: Tensor) -> Tensor:
    rows = torch.arange(len(prompts))
    handle = module.gpt_neox.layers[0].register_forward_hook(lambda *_: state)  # type: ignore[union-attr, operator]
    with torch.no_grad():
        final = module(prompts.tokens).logits[rows, prompts.last]
    handle.remove()
    metric: Tensor = final[rows, prompts.wrong] - final[rows, prompts.right]
    return metric


@pytest.mark.parametrize("path", ["joint", "error_kept"])
def test_small_effects_agree_with_exact_patching(series: SnapshotSeries, path: Path) -> None:
    """Where a latent moves the activation a little, its gradient says what patching says."""
    dictionary, pairs = tiny_dictionary(), tiny_pairs(12)
    with torch.no_grad():
        dictionary.W_dec.mul_(1e-2)
    plan = tiny_plan(series, dictionary, pairs, path=path)
    found = dense_effects(attribute(series, plan)).sum(0)
    for source in range(2):
        exact = plan.compute_exact(series.open(source), source, np.arange(N_LATENTS)).sum(0)
        assert np.corrcoef(found[:, source], exact)[0, 1] > 0.999


def test_a_skip_connection_is_refused() -> None:
    made = Crosscoder(CrosscoderConfig.model_validate({"n_latents": 64, "skip": True}), ("a",), d_model=4)
    with pytest.raises(DictionaryError, match="skip connection"):
        EffectPlan(made, [], [], None)


def test_a_latent_out_of_range_is_refused(series: SnapshotSeries) -> None:
    plan = tiny_plan(series, tiny_dictionary(), tiny_pairs(2))
    with pytest.raises(DictionaryError, match="no latent 24: this dictionary has 24"):
        plan.compute_exact(series.open(0), 0, np.array([3, N_LATENTS]))
