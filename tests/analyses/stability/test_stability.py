"""Stability: a permuted copy is found whole, a random one is not, planted twins are found and told by their use."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from analyses.small_inputs import inputs, saved
from latents.small import N_LATENTS, NAMES, dictionary
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.stability import refers, run
from ontogeny.analyses.stability.config import StabilityConfig
from ontogeny.analyses.stability.survival import compute_biographies
from ontogeny.analyses.stability.twins import Twins, compute_divergence, draw_partners, find_twins
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import StoreError
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.latents.trajectories import CLASSES, LifeThresholds
from ontogeny.types import HookPoint, Snapshot, Source

CONFIG = StabilityConfig(others=("copy", "stranger"), min_active=2)


def permuted(made: Crosscoder, seed: int = 0) -> tuple[Crosscoder, np.ndarray]:
    """The same latents in another order; other.latent[i] = made.latent[order[i]]."""
    order = torch.randperm(made.n_latents, generator=torch.Generator().manual_seed(seed))
    other = dictionary()
    with torch.no_grad():
        for name in ("W_enc", "W_dec", "b_enc"):
            getattr(other, name).copy_(getattr(made, name)[order])
    return other, order.numpy()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> AnalysisInputs:
    made = inputs(tmp_path_factory.mktemp("stability"))
    others = {"copy": permuted(made.dictionary)[0], "stranger": dictionary(seed=9)}
    return dataclasses.replace(made, others=others)


def test_a_copy_survives_whole_and_its_classes_too(opened: AnalysisInputs, tmp_path: Path) -> None:
    found = saved(run(opened, CONFIG), tmp_path)
    assert opened.codes is not None
    alive = opened.codes.counts >= 2
    _, order = permuted(opened.dictionary)
    rows = [row for row in found.table("matches").rows() if row["other"] == "copy"]
    for row in rows:
        if alive[row["latent"]]:
            assert order[row["match"]] == row["latent"]
            assert row["cosine"] == pytest.approx(1.0, abs=1e-6)
            assert row["survives"] and row["class"] == row["match_class"]
        else:
            assert row["match"] is None and row["cosine"] is None and row["survives"] is None
    whole = {row["other"]: row for row in found.table("survival").rows() if row["class"] == "all"}
    assert whole["copy"]["share"] == whole["copy"]["same_class"] == 1.0
    assert whole["copy"]["share_low"] < 1.0
    assert whole["stranger"]["mean_cosine"] < 0.95
    assert whole[None]["n_survive"] == whole["stranger"]["n_survive"]
    by_class = [row for row in found.table("survival").rows() if row["other"] == "copy" and row["class"] != "all"]
    assert sum(row["n"] for row in by_class) == whole["copy"]["n"] == alive.sum()
    assert [row["latent"] for row in found.table("matches").rows()] == sorted([*range(N_LATENTS)] * 2)
    assert found.summary["survive"]["copy"] == 1.0


def test_without_others_there_are_twins_and_classes_alone(opened: AnalysisInputs, tmp_path: Path) -> None:
    found = saved(run(opened, StabilityConfig(min_active=2)), tmp_path)
    assert found.table("matches").rows() == found.table("survival").rows() == []
    assert {row["dictionary"] for row in found.table("classes").rows()} == {"this"}


def test_the_shuffled_control_is_named_as_such(opened: AnalysisInputs, tmp_path: Path) -> None:
    config = StabilityConfig(others=("copy",), shuffled="stranger", min_active=2)
    assert refers(config) == ["copy", "stranger"]
    found = saved(run(opened, config), tmp_path)
    assert {row["role"] for row in found.table("survival").rows() if row["other"] == "stranger"} == {"shuffled"}
    with pytest.raises(ValidationError, match="name it once"):
        StabilityConfig(others=("a",), shuffled="a")


def test_dictionaries_of_another_series_are_refused(opened: AnalysisInputs) -> None:
    other = Crosscoder(opened.dictionary.config, ("x", "y", "z"), d_model=opened.dictionary.d_model)
    strange = dataclasses.replace(opened, others={"copy": other, "stranger": other})
    with pytest.raises(StoreError, match="source 'x'"):
        run(strange, CONFIG)


def test_planted_twins_are_found_and_told_by_their_use(tmp_path: Path) -> None:
    made = inputs(tmp_path)
    other = made.dictionary
    with torch.no_grad():
        # 3 and 4 share direction and encoder, but live in different snapshots; 5 and 6 share the direction alone.
        for first, second in ((3, 4), (5, 6)):
            direction = torch.randn(other.d_out, generator=torch.Generator().manual_seed(first))
            other.W_dec[[first, second]] = 1e-3 * direction
            other.W_dec[first, 0] = other.W_dec[second, 2] = direction
        other.W_enc[4], other.b_enc[4] = other.W_enc[3], other.b_enc[3]
    writer = CodeCacheWriter(tmp_path / "twins", other, "d2")
    run_pass(other, made.held_out, {}, cache=writer)
    fresh = dataclasses.replace(made, codes=writer.finish())
    found = saved(run(fresh, StabilityConfig(min_active=1, twins=0.99)), tmp_path / "result").table("twins").rows()
    pairs = {(row["latent"], row["twin"]): row for row in found}
    assert {(3, 4), (5, 6)} <= set(pairs)
    same, apart = pairs[3, 4], pairs[5, 6]
    assert (same["source"], same["twin_source"]) == (NAMES[0], NAMES[2])
    assert same["divergence"] == 0.0 and same["n_both"] == same["n_tokens"] > 0
    assert apart["divergence"] > 0.5 and apart["divergence_se"] > 0


def test_twins_live_apart() -> None:
    directions = torch.eye(4)[[0, 0, 0, 1]]
    live = np.array([[True, False], [False, True], [True, True], [False, True]])
    found = find_twins(directions, live, 0.9)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(0, 1)]
    assert len(find_twins(directions, np.zeros((4, 2), bool), 0.9)) == 0
    partners = draw_partners(found, live, np.ones(4, bool), seed=0)
    assert partners[0] in (1, 3)
    assert draw_partners(Twins(np.array([2]), np.array([3]), np.ones(1)), live, np.ones(4, bool), 0)[0] == -1


def test_divergence_counts_strong_against_off(opened: AnalysisInputs) -> None:
    codes = opened.codes
    assert codes is not None
    first, second = (int(latent) for latent in np.argsort(-codes.counts)[:2])
    dense = np.zeros((2, codes.n_tokens))
    for place, latent in enumerate((first, second)):
        tokens, values = codes.latent(latent)
        dense[place, tokens] = values / values.max()
    strong = dense > 0.4
    alone = (strong[0] & (dense[1] <= 0.1)) | (strong[1] & (dense[0] <= 0.1))
    found = compute_divergence(codes, first, second, 0.4, 0.1)
    assert (found.n_tokens, found.n_both, found.n_alone) == (strong.any(0).sum(), strong.all(0).sum(), alone.sum())
    assert compute_divergence(codes, first, 0, 0.4, 0.1).share is None


def test_lives_are_read_along_the_hook_point_at_which_a_latent_is_strongest() -> None:
    sources = [
        Source(Snapshot("m", label=f"step{step}", step=step), HookPoint.parse(f"resid_post.{layer}"))
        for step in (0, 100, 10_000)
        for layer in (0, 1)
    ]
    # Emergent at layer 1 with norm 5, persistent at layer 0 with norm 1; and dead.
    norms = np.array([[1, 0, 1, 0, 1, 5], [1, 0, 1, 5, 1, 5], [1, 1, 1, 1, 1, 1]], dtype=np.float32)
    found = compute_biographies(norms, sources, np.array([True, True, False]), LifeThresholds())
    assert [CLASSES[kind] for kind in found.kind] == ["late-specific", "emergent", "never"]
    np.testing.assert_array_equal(found.peak[:2], [5, 3])
    assert not found.live[2].any() and np.isnan(found.half_rise[2])
    alone = compute_biographies(norms[:, :2], sources[:2], np.array([True, True, False]), LifeThresholds())
    assert alone.kind[:2].tolist() == [-1, -1], "one snapshot is no series"
