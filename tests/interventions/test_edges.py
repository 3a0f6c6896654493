"""Edges against float64 path patching on models that are held, sums that must add up, and the real thing patched."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from interventions.test_stretch import pinned
from interventions.tiny_edges import END, START, make_plan, tiny_edges
from interventions.tiny_prompts import N_LATENTS, tiny_pairs
from interventions.tiny_series import D_MODEL, tiny_series
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError
from ontogeny.interventions.edges import ERROR, OTHERS, EdgePlan, Evidence
from ontogeny.interventions.prompts import compute_metric
from ontogeny.interventions.suffix import read_with, run_with
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs import MinimalPair, PairTokens
from ontogeny.types import HookPoint
from snapshots.tiny_models import CONFIGS, VOCABULARY, WIDTH, build_model


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SnapshotSeries:
    return tiny_series(tmp_path_factory.mktemp("family"))


def model_pairs(n: int = 5) -> PairTokens:
    """Prefixes of one length over the vocabulary of the tiny models."""
    draw = np.random.default_rng(0)
    clean = draw.integers(3, VOCABULARY - 2, (n, 7))
    patch = clean.copy()
    patch[:, 2] = 3 + (clean[:, 2] + 5) % 60
    pairs = tuple(MinimalPair(f"c{i}", "r", "w", f"p{i}", str(i)) for i in range(n))
    length = np.full(n, 7)
    return PairTokens(
        clean, patch, length, length, draw.integers(3, 40, n), draw.integers(41, 90, n), np.arange(n), pairs
    )


def wide_dictionary(seed: int, kind: str) -> Crosscoder:
    torch.manual_seed(seed)
    activation = {"kind": "topk", "k": 6} if kind == "topk" else {"kind": kind}
    config = CrosscoderConfig.model_validate({"n_latents": 20, "activation": activation, "aux_k": None})
    made = Crosscoder(config, ("only",), d_model=WIDTH)
    made.set_scales(torch.tensor([0.7]), torch.randn(1, WIDTH) * 0.1)
    return made.eval()


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_edges_are_those_of_path_patching_on_the_held_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Central differences in float64: u moves a little, v alone answers, the metric's gradient meets its decoder."""
    module, pairs = build_model(name), model_pairs()
    model, kind = HookedModel(module), "topk" if len(name) % 2 else "relu"
    points = HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.1")
    upper, lower = (
        make_plan([model], wide_dictionary(seed, kind), pairs, point, batch=8) for seed, point in zip((1, 2), points)
    )
    starts, ends = np.arange(0, 20, 3), np.arange(1, 20, 4)
    plan = EdgePlan(upper, lower, starts, ends)
    found = plan.compute(model, 0, 0)
    batch, later = upper.batches[0], lower.batches[0]
    x, y = batch.hidden[:, :, 0].double(), later.hidden[:, :, 0].double()
    exact = HookedModel(module.double())
    module.set_attn_implementation("eager")
    dictionary = lower.dictionary
    on = (later.codes.dense(0) > 0).unflatten(0, (len(pairs), -1))

    def run(state: Tensor) -> Tensor:
        with torch.no_grad():
            return read_with(exact, batch.prompts.tokens, batch.prompts.attention, points[0], state, points[1])

    state = y.clone().requires_grad_(True)
    metric = compute_metric(run_with(exact, batch.prompts.tokens, None, points[1], state), batch.prompts)
    (gradient,) = torch.autograd.grad(metric.sum(), state)
    with pinned(exact, lambda: run(x), monkeypatch):
        for at, latent in enumerate(starts):
            by = upper.movement(batch, 0, torch.tensor([latent])).double()
            pushed = (run(x + 1e-5 * by) - run(x - 1e-5 * by)) / 2e-5
            through = (pushed * gradient * batch.moves[..., None]).sum((1, 2))
            assert np.allclose(found.through[:, at], through, atol=2e-4 * float(through.abs().max()) + 1e-6)
            for place, end in enumerate(ends):
                reading = dictionary.W_enc[end, 0].double() * dictionary.scale[0]
                answer = (pushed[:, 1:] @ reading) * on[:, :, end]
                direction = dictionary.W_dec[end, 0].double() / dictionary.scale_out[0]
                expected = (answer * (gradient[:, 1:] @ direction)).sum(1).detach()
                size = float(expected.abs().max())
                assert np.allclose(found.effects[:, at, place], expected, atol=3e-4 * size + 1e-6)
    assert np.abs(found.effects[:, :-2]).max() > 1e-4


@pytest.mark.parametrize(("kind", "gate"), [("relu", "shared"), ("topk", "shared"), ("topk", "per_source")])
@pytest.mark.parametrize("baseline", ["pair", "mean", "zero"])
def test_edges_into_a_latent_add_up_to_what_it_reads_of_the_whole_movement(
    series: SnapshotSeries, kind: str, gate: str, baseline: str
) -> None:
    plan, models = tiny_edges(series, tiny_pairs(), kind, gate, baseline)  # type: ignore[arg-type]
    for source, model in enumerate(models):
        found = plan.compute(model, source, source)
        fewer = EdgePlan(plan.upstream, plan.downstream, plan.starts[:0], plan.ends).compute(model, source, source)
        whole = fewer.effects[:, OTHERS] + fewer.effects[:, ERROR]
        size = np.abs(whole).max()
        assert size > 1e-4
        assert np.allclose(found.effects.sum(1), whole, atol=1e-4 * size)
        assert np.allclose(found.through.sum(1), fewer.through.sum(1), atol=1e-4 * np.abs(fewer.through).max())
        # Nodes are the effects that attribution gives.
        own = plan.downstream.compute_source(model, source)
        effects = plan.downstream.gather([own])
        for place, latent in enumerate(plan.ends):
            alone = np.bincount(effects.prompt, effects.values[:, 0] * (effects.latent == latent), minlength=7)
            assert np.allclose(found.nodes[:, place], alone, atol=1e-5)
        assert np.allclose(found.whole - found.latents, own.error, atol=1e-4)
        assert np.allclose(found.start, own.start, atol=1e-5) and np.allclose(found.end, own.end, atol=1e-5)


def test_edges_moved_together_add_up_and_all_of_them_are_what_was_read(series: SnapshotSeries) -> None:
    plan, models = tiny_edges(series, tiny_pairs())
    edges = plan.compute(models[1], 1, 1)
    some = np.random.default_rng(0).random(edges.weights.shape) < 0.4
    for index, batch in enumerate(plan.downstream.batches):
        parts = [plan.movement(edges, index, 1, chosen) for chosen in (some, ~some, np.ones_like(some))]
        torch.testing.assert_close(parts[0] + parts[1], parts[2])
        assert float(parts[2][~batch.moves].abs().max()) == 0
    norms = plan.downstream.directions(1, torch.from_numpy(plan.ends)).norm(dim=1).numpy()
    for place in range(len(plan.ends)):
        read = sum(each.change[each.end == place].abs().sum(0) for each in edges.readings)
        assert np.allclose(edges.weights[:, place], np.asarray(read) * norms[place], rtol=1e-4)


def test_effects_do_not_depend_on_the_batch_nor_on_which_others_are_asked(series: SnapshotSeries) -> None:
    pairs = tiny_pairs()
    plan, models = tiny_edges(series, pairs, starts=(4, 9), ends=(3, 8))
    found = plan.compute(models[0], 0, 0)
    again, _ = tiny_edges(series, pairs, starts=(9, 1, 4), ends=(8, 7, 3))
    more = again.compute(models[0], 0, 0)
    assert np.allclose(found.effects[:, 0, 1], more.effects[:, 2, 0], atol=1e-6)
    assert np.allclose(found.effects[:, 1, 0], more.effects[:, 0, 2], atol=1e-6)
    whole = [
        make_plan(models, each.dictionary, pairs, point, batch=7)
        for each, point in ((plan.upstream, START), (plan.downstream, END))
    ]
    assert np.allclose(
        EdgePlan(*whole, plan.starts, plan.ends).compute(models[0], 0, 0).effects, found.effects, atol=1e-5
    )


def shares_by_hand(dictionary: Crosscoder, source: int) -> Tensor:
    """How much of every latent's evidence is one source's, by moving raw activations by its decoders."""
    raw = dictionary.W_dec / dictionary.scale_out[:, None]
    whole = (
        dictionary.preactivation(dictionary.normalise(raw)).raw.diagonal()
        - dictionary.preactivation(dictionary.normalise(torch.zeros_like(raw))).raw.diagonal()
    )
    alone = torch.zeros_like(raw)
    alone[:, source] = raw[:, source]
    own = (
        dictionary.preactivation(dictionary.normalise(alone)).raw.diagonal()
        - dictionary.preactivation(dictionary.normalise(torch.zeros_like(raw))).raw.diagonal()
    )
    return (own / whole).detach()


def test_a_share_is_what_a_source_alone_gives_of_a_latents_evidence(series: SnapshotSeries) -> None:
    plan, models = tiny_edges(series, tiny_pairs())
    dictionary, ends = plan.downstream.dictionary, torch.from_numpy(plan.ends)
    shares = [plan.shares(source) for source in range(2)]
    for source in range(2):
        torch.testing.assert_close(shares[source], shares_by_hand(dictionary, source)[ends], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(shares[0] + shares[1], torch.ones(len(ends)))
    own = EdgePlan(plan.upstream, plan.downstream, plan.starts, plan.ends, evidence="own")
    whole, alone = (each.compute(models[1], 1, 1) for each in (plan, own))
    known = (shares[1] >= 0.01).numpy()
    assert known.any()
    assert np.allclose(whole.effects[..., known] * shares[1].numpy()[known], alone.effects[..., known], atol=1e-5)
    assert (whole.effects[..., ~known] == 0).all() and np.allclose(whole.through, alone.through)


@pytest.mark.parametrize("gate", ["shared", "per_source"])
@pytest.mark.parametrize("evidence", ["own", "whole"])
def test_exact_edges_are_path_patching_by_hand(series: SnapshotSeries, gate: str, evidence: Evidence) -> None:
    plan, models = tiny_edges(series, tiny_pairs(), gate=gate)
    plan = EdgePlan(plan.upstream, plan.downstream, plan.starts, plan.ends, evidence)
    share = plan.shares(1)
    source, model = 1, models[1]
    edges = np.array([[0, 1], [2, 3], [0, 4]])
    wanted = np.array([True, True, False, True, True, True, True])
    found = plan.compute_exact(model, source, source, edges, wanted)
    assert (found[2] == 0).all() and np.abs(found).max() > 1e-4
    for index, batch in enumerate(plan.upstream.batches):
        later, prompts = plan.downstream.batches[index], batch.prompts
        for at, (first, last) in enumerate(edges):
            moved = batch.hidden[:, :, source] + plan.upstream.movement(
                batch, source, torch.tensor([plan.starts[first]])
            )
            with torch.no_grad():
                reached = read_with(model, prompts.tokens, prompts.attention, START, moved, END)
                x = later.hidden.clone()
                x[:, :, source] = reached
                codes = [plan.downstream.dictionary.encode(each[later.moves]).sparse() for each in (x, later.hidden)]
                after, before = (each.dense(source)[:, plan.ends[last]] for each in codes)
                by = after - before
                if share[last] >= 0.01:
                    by = torch.where((after > 0) & (before > 0), torch.maximum(by / share[last], -before), by)
                state = later.hidden[:, :, source].clone()
                state[later.moves] += by[:, None] * plan.downstream.directions(source, torch.tensor([plan.ends[last]]))
                logits = [
                    run_with(model, prompts.tokens, prompts.attention, END, each)
                    for each in (state, later.hidden[:, :, source])
                ]
                expected = compute_metric(logits[0], prompts) - compute_metric(logits[1], prompts)
            mine = wanted[batch.numbers]
            assert np.allclose(found[batch.numbers[mine], at], expected[torch.from_numpy(mine)], atol=1e-5)


def test_a_small_movement_through_the_residual_alone_is_estimated_as_it_is_patched(series: SnapshotSeries) -> None:
    """There nothing is held that would move, and the metric is straight."""
    model = series.open(0)
    with torch.no_grad():
        for block in model.blocks:
            for layer in (block.attention.dense, block.mlp.dense_4h_to_h):
                layer.weight.zero_()
                layer.bias.zero_()
    plan, _ = tiny_edges(series, tiny_pairs(), kind="relu", models=[model, series.open(1)])
    plan.evidence = "own"
    tiny = 1e-2
    small = [
        dataclasses.replace(each, change=dataclasses.replace(each.change, difference=each.change.difference * tiny))
        for each in plan.upstream.batches
    ]
    plan.upstream.batches = small
    edges = plan.compute(model, 0, 0)
    every = np.stack(np.meshgrid(np.arange(len(plan.starts)), np.arange(len(plan.ends)), indexing="ij"), -1).reshape(
        -1, 2
    )
    exact = plan.compute_exact(model, 0, 0, every, np.ones(7, dtype=bool))
    estimate = edges.effects[:, every[:, 0], every[:, 1]]
    assert np.abs(estimate).max() > 1e-5
    assert np.corrcoef(estimate.ravel(), exact.ravel())[0, 1] > 0.98


def test_a_dictionary_that_reads_elsewhere_is_refused(series: SnapshotSeries) -> None:
    plan, _ = tiny_edges(series, tiny_pairs())
    config = CrosscoderConfig(n_latents=N_LATENTS, activation={"kind": "relu"})
    elsewhere = Crosscoder(config, ("a",), ("b",), D_MODEL).eval()
    plan.downstream.dictionary = elsewhere
    with pytest.raises(DictionaryError, match="writes other sources than it reads"):
        EdgePlan(plan.upstream, plan.downstream, plan.starts, plan.ends)


def test_a_dictionary_may_have_no_chosen_latent(series: SnapshotSeries) -> None:
    plan, models = tiny_edges(series, tiny_pairs(), starts=(), ends=())
    found = plan.compute(models[0], 0, 0)
    assert found.effects.shape == (7, 2, 0) and found.nodes.shape == (7, 0)
    assert plan.compute_exact(models[0], 0, 0, np.zeros((0, 2), dtype=np.int64), np.ones(7, dtype=bool)).shape == (7, 0)
