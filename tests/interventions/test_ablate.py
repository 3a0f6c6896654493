"""Sets of latents changed together, against dense codes in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from interventions.tiny_prompts import N_LATENTS, read_all, tiny_dictionary, tiny_pairs, tiny_plan
from interventions.tiny_series import tiny_series
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError
from ontogeny.interventions.ablate import Mode, Rest, measure_nested
from ontogeny.interventions.effect_batches import moving_positions
from ontogeny.interventions.effects import Baseline
from ontogeny.interventions.prompts import clean_prompts, patch_prompts
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs import PairTokens

COUNTS = [0, 1, 3, 8, N_LATENTS]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("family"))


def dense(dictionary: Crosscoder, x: Tensor, source: int) -> Tensor:
    codes = dictionary.encode(x.flatten(0, 1)).sparse().dense(source)
    return codes.detach().double().unflatten(0, x.shape[:2])


def brute_force(
    series: SnapshotSeries,
    dictionary: Crosscoder,
    pairs: PairTokens,
    source: int,
    baseline: Baseline,
    changed: np.ndarray,
    error: Rest,
) -> np.ndarray:
    """The metric with some latents at the baseline: all codes as dense tables, the whole model run, float64."""
    clean, patch = clean_prompts(pairs), patch_prompts(pairs)
    assert patch is not None
    x, other = read_all(series, clean).values, read_all(series, patch).values
    moves = moving_positions(clean)
    f, f_other = dense(dictionary, x, source), dense(dictionary, other, source)
    directions = dictionary.W_dec[:, source].detach().double() / dictionary.scale_out[source].double()
    offset = dictionary.b_dec[source].detach().double() / dictionary.scale_out[source].double()
    offset = offset + dictionary.centre_out[source].double()
    rest, rest_other = (
        each[:, :, source].double() - codes @ directions - offset for each, codes in ((x, f), (other, f_other))
    )
    if baseline == "zero":
        f_other, rest_other = torch.zeros_like(f), torch.zeros_like(rest)
    if baseline == "mean":
        f_other = torch.cat([f[moves], f_other[moves]]).mean(0).expand_as(f)
        rest_other = torch.cat([rest[moves], rest_other[moves]]).mean(0).expand_as(rest)
    member = torch.zeros(N_LATENTS, dtype=torch.bool)
    member[torch.from_numpy(changed)] = True
    codes = torch.where(member, f_other, f)
    state = codes @ directions + offset + (rest_other if error == "moved" else rest)
    state = torch.where(moves[..., None], state, x[:, :, source].double())
    module = series.open(source).module.double()
    handle = module.gpt_neox.layers[0].register_forward_hook(lambda *_: state)
    rows = torch.arange(len(pairs))
    with torch.no_grad():
        final = module(clean.tokens).logits[rows, clean.last]
    handle.remove()
    return (final[rows, clean.wrong] - final[rows, clean.right]).numpy()


@pytest.mark.parametrize("baseline", ["pair", "mean", "zero"])
@pytest.mark.parametrize("error", ["kept", "moved"])
@pytest.mark.parametrize("mode", ["ablate", "keep"])
def test_sets_are_those_of_dense_codes(series: SnapshotSeries, mode: Mode, error: Rest, baseline: Baseline) -> None:
    dictionary, pairs = tiny_dictionary(kind="topk", gate="per_source"), tiny_pairs()
    plan = tiny_plan(series, dictionary, pairs, baseline=baseline)
    order = np.random.default_rng(0).permutation(N_LATENTS)
    for source in range(2):
        found = measure_nested(plan, series.open(source), source, order, COUNTS, mode=mode, error=error)
        for column, count in enumerate(COUNTS):
            changed = order[:count] if mode == "ablate" else order[count:]
            expected = brute_force(series, dictionary, pairs, source, baseline, changed, error)
            assert np.allclose(found[:, column], expected, atol=2e-4), (source, count)


def test_the_ends_are_the_untouched_model_and_the_baseline(series: SnapshotSeries) -> None:
    plan = tiny_plan(series, tiny_dictionary(), tiny_pairs(), baseline="pair")
    effects = plan.compute_source(series.open(1), 1)
    order = np.arange(N_LATENTS)
    ablate = measure_nested(plan, series.open(1), 1, order, COUNTS, error="kept")
    keep = measure_nested(plan, series.open(1), 1, order, COUNTS, mode="keep", error="moved")
    assert np.allclose(ablate[:, 0], effects.start, atol=1e-5)
    assert np.allclose(keep[:, 0], effects.end, atol=1e-5)
    single = plan.compute_exact(series.open(1), 1, order[:1])
    assert np.allclose(ablate[:, 1] - ablate[:, 0], single[:, 0], atol=1e-5)


def test_only_wanted_prompts_are_run(series: SnapshotSeries) -> None:
    plan = tiny_plan(series, tiny_dictionary(), tiny_pairs())
    wanted = np.array([True, False, False, False, False, False, True])
    order = np.arange(N_LATENTS)
    whole = measure_nested(plan, series.open(0), 0, order, [2])
    assert np.allclose(measure_nested(plan, series.open(0), 0, order, [2], wanted=wanted), whole[wanted])
    assert measure_nested(plan, series.open(0), 0, order[:0], [], wanted=wanted).shape == (2, 0)


def test_a_latent_out_of_range_is_named(series: SnapshotSeries) -> None:
    plan = tiny_plan(series, tiny_dictionary(), tiny_pairs())
    with pytest.raises(DictionaryError, match="no latent 99: this dictionary has 24"):
        measure_nested(plan, series.open(0), 0, np.array([0, 99]), [1])
