"""Samples of tokens: the strongest, of every bin, and silent ones; functions of the data alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latents.small import N_LATENTS, dictionary, store
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.documents import Documents
from ontogeny.latents.passes import run_pass
from ontogeny.latents.sampling import (
    Choice,
    choose_controls,
    choose_from_bins,
    choose_strongest,
    compute_priorities,
    level_bins,
    quantile_bins,
)


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    made = dictionary()
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    run_pass(made, store(tmp_path), {}, batch_size=33, cache=writer)
    return writer.finish()


def of_latent(choice: Choice, latent: int) -> list[int]:
    return choice.tokens[choice.latents == latent].tolist()


def test_the_strongest_are_those_of_a_loop(cache: CodeCache) -> None:
    documents = Documents.from_columns(cache.columns)
    chosen = choose_strongest(cache.block(0, N_LATENTS), documents, 4)
    for latent in range(N_LATENTS):
        tokens, values = cache.latent(latent)
        best: dict[int, int] = {}
        for place in np.lexsort((tokens, -values)):
            best.setdefault(int(documents.of[tokens[place]]), int(tokens[place]))
        assert of_latent(chosen, latent) == list(best.values())[:4]
        assert chosen.ranks[chosen.latents == latent].tolist() == list(range(min(4, len(best))))


def test_equal_values_go_by_place_in_the_text() -> None:
    documents = Documents(np.array([0, 1, 2, 3], dtype=np.int32), np.ones(4, dtype=np.int64))
    block = LatentBlock(0, np.array([0, 4]), np.arange(4), np.ones(4, np.float32), np.ones((1, 1), np.float32))
    assert choose_strongest(block, documents, 3).tokens.tolist() == [0, 1, 2]


def test_bins_are_true_quantiles_and_levels_fractions_of_the_maximum(cache: CodeCache) -> None:
    block = cache.block(0, N_LATENTS)
    quantiles, levels = quantile_bins(block, 5), level_bins(block, 4)
    for latent in range(1, N_LATENTS):
        pairs = slice(*block.pointer[latent : latent + 2])
        values = block.values[pairs].astype(np.float64)
        edges = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
        assert quantiles[pairs].tolist() == np.searchsorted(edges, values, side="right").tolist()
        sizes = np.bincount(quantiles[pairs], minlength=5)
        assert sizes.max() - sizes.min() <= 1
        assert levels[pairs].tolist() == np.minimum(values / values.max() * 4, 3).astype(int).tolist()


def test_samples_lie_in_their_bin_one_a_document(cache: CodeCache) -> None:
    documents = Documents.from_columns(cache.columns)
    block = cache.block(0, N_LATENTS)
    bins = quantile_bins(block, 5)
    chosen = choose_from_bins(block, documents, bins, 5, 3, seed=7)
    for latent in range(N_LATENTS):
        pairs = slice(*block.pointer[latent : latent + 2])
        for number in range(5):
            mine = (chosen.latents == latent) & (chosen.bins == number)
            pool = block.tokens[pairs][bins[pairs] == number]
            assert set(chosen.tokens[mine]) <= set(pool)
            assert len(set(documents.of[chosen.tokens[mine]])) == mine.sum() == min(3, len(set(documents.of[pool])))


def test_a_sample_depends_on_seed_latent_and_token_alone(cache: CodeCache) -> None:
    documents = Documents.from_columns(cache.columns)
    whole = cache.block(0, N_LATENTS)
    chosen = choose_from_bins(whole, documents, quantile_bins(whole, 5), 5, 2, seed=7)
    controls = choose_controls(whole, documents, 3, 1, 1, seed=7)
    for block in cache.iter_blocks(max_pairs=1, max_latents=1):
        alone = choose_from_bins(block, documents, quantile_bins(block, 5), 5, 2, seed=7)
        assert sorted(alone.tokens) == sorted(of_latent(chosen, block.first))
        silent = choose_controls(block, documents, 3, 1, 1, seed=7)
        assert silent.tokens.tolist() == of_latent(controls, block.first)
    other = choose_from_bins(whole, documents, quantile_bins(whole, 5), 5, 2, seed=8)
    assert sorted(chosen.tokens) != sorted(other.tokens)


def test_draws_are_uniform() -> None:
    priorities = compute_priorities(3, np.zeros(20_000, np.int64), np.arange(20_000))
    counts = np.bincount((priorities >> np.uint64(60)).astype(int), minlength=16)
    assert np.abs(counts - 1250).max() < 5 * np.sqrt(1250)
    assert len(set(priorities.tolist())) == 20_000
    assert (priorities != compute_priorities(3, np.ones(20_000, np.int64), np.arange(20_000))).all()


def test_controls_are_silent_all_round(cache: CodeCache) -> None:
    documents = Documents.from_columns(cache.columns)
    block = cache.block(0, N_LATENTS)
    rare = block.keep(np.arange(len(block.values)) - block.pointer[block.latents] < 6)
    chosen = choose_controls(rare, documents, 4, 3, 2, seed=0)
    assert len(of_latent(chosen, 0)) == 0, "a latent that never fires has nothing to be told apart from"
    found = 0
    for latent in range(1, N_LATENTS):
        active = set(rare.tokens[slice(*rare.pointer[latent : latent + 2])].tolist())
        tokens = of_latent(chosen, latent)
        found += len(tokens)
        assert len(set(documents.of[tokens])) == len(tokens) <= 4
        assert all(active.isdisjoint(range(token - 3, token + 3)) for token in tokens)
    assert found > 3 * (rare.counts > 0).sum()


def test_a_latent_that_is_always_on_has_no_controls(cache: CodeCache) -> None:
    documents = Documents.from_columns(cache.columns)
    every = np.arange(cache.n_tokens)
    block = replace(
        cache.block(1, 2), pointer=np.array([0, len(every)]), tokens=every, values=np.ones(len(every), np.float32)
    )
    assert len(choose_controls(block, documents, 4, 3, 2, seed=0).tokens) == 0
