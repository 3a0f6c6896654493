"""Sparse sums by cluster against dense ones; memory that grows with what is active, not with what is known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ontogeny.interventions.effects import IndirectEffects
from ontogeny.latents.clusters import flip_blocks, flip_signs, renumber, sum_clusters
from ontogeny.latents.effect_sums import sum_by_cluster

TESTS = Path(__file__).parents[1]


def high_water() -> int:
    """The most memory this process has held, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def random_effects(n_prompts: int, n_latents: int, n_entries: int, seed: int = 0) -> IndirectEffects:
    draw = np.random.default_rng(seed)
    keys = np.unique(draw.integers(0, n_prompts * n_latents, n_entries))
    none = np.zeros((n_prompts, 3))
    values = draw.normal(size=(len(keys), 3)) * (draw.random((len(keys), 3)) < 0.8)
    return IndirectEffects(keys // n_latents, keys % n_latents, values, none, none, none, n_latents)


def test_sums_are_the_dense_ones() -> None:
    effects = random_effects(40, 1_000, 900)
    clusters, n_clusters = renumber(np.random.default_rng(1).integers(0, 15, 40))
    dense = np.zeros((40, len(effects.active), 3))
    dense[effects.prompt, np.searchsorted(effects.active, effects.latent)] = effects.values
    expected, sums = sum_clusters(dense, clusters, n_clusters), sum_by_cluster(effects, clusters, n_clusters)
    assert np.array_equal(sums.latents, effects.active)
    assert np.allclose(sums.mean, expected.mean) and np.allclose(sums.se, expected.se)
    places = np.array([7, 0, 30, 7])
    assert np.allclose(sums.take(places).total, expected.total[:, places])
    assert np.array_equal(sums.n_clusters, (expected.total != 0).any(axis=2).sum(axis=0))
    found, whole = (
        flip_blocks(sums.iter_tests, n_clusters, 50, 3, 2),
        flip_signs(expected.total.reshape(n_clusters, -1), 50, 3, 2),
    )
    assert np.allclose(found.p, whole.p, equal_nan=True) and np.allclose(found.p_family, whole.p_family, equal_nan=True)


def test_prompts_of_no_cluster_are_left_out() -> None:
    effects = random_effects(20, 50, 300)
    clusters = np.arange(20) // 2
    clusters[10:] = -1
    sums = sum_by_cluster(effects, clusters, 5)
    kept = effects.prompt < 10
    expected = np.zeros((50, 3))
    np.add.at(expected, effects.latent[kept], effects.values[kept])
    assert np.allclose(sums.mean, expected[effects.active] / 10) and sums.size.tolist() == [2] * 5


MANY = """
from latents.test_effect_sums import high_water, random_effects
from ontogeny.latents.clusters import flip_blocks
from ontogeny.latents.effect_sums import sum_by_cluster
import numpy as np

effects = random_effects(512, 1_000_000, 300_000)
before = high_water()
sums = sum_by_cluster(effects, np.arange(512), 512)
tests = flip_blocks(sums.iter_tests, 512, n_flips=10, min_clusters=1)
assert len(effects.active) > 200_000 and sums.se.shape == tests.p.reshape(-1, 3).shape
print((high_water() - before) >> 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the high-water mark there")
def test_a_million_latents_fit() -> None:
    """Whole, [cluster latent source] would be 3.2 GB."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, cwd=TESTS, check=True)
    assert int(done.stdout) < 400, f"grew by {done.stdout} MiB"
