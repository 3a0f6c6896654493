"""Matching against permutations, brute force, and what a random dictionary gives."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.matching import (
    NONE,
    concatenate_decoders,
    find_best,
    match_dictionaries,
    match_directions,
    match_scores,
    random_decoders,
)

NAMES = ("early", "middle", "late")


def crosscoder(n_latents: int = 24, names: tuple[str, ...] = NAMES, d_model: int = 16, seed: int = 0) -> Crosscoder:
    torch.manual_seed(seed)
    config = CrosscoderConfig(n_latents=n_latents, activation={"kind": "topk", "k": 4})
    made = Crosscoder(config, list(names), d_model=d_model)
    with torch.no_grad():
        made.W_dec.normal_()
    return made


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000), st.floats(0.0, 0.5))
def test_scores_are_matched_as_brute_force_matches_them(n_rows: int, n_columns: int, seed: int, hole: float) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(n_rows, n_columns))
    scores[generator.random(scores.shape) < hole] = np.nan
    found = match_scores(scores)
    pairs = [(row, int(column)) for row, column in enumerate(found.match) if column != NONE]
    assert len({column for _, column in pairs}) == len(pairs)
    np.testing.assert_array_equal(found.similarity[found.matched], [scores[pair] for pair in pairs])
    best = (0, -np.inf)
    for size in range(min(scores.shape), -1, -1):
        totals = [
            sum(scores[pair] for pair in zip(rows, columns, strict=True))
            for rows in itertools.combinations(range(n_rows), size)
            for columns in itertools.permutations(range(n_columns), size)
            if np.isfinite([scores[pair] for pair in zip(rows, columns, strict=True)]).all()
        ]
        if totals:
            best = (size, max(totals))
            break
    assert len(pairs) == best[0]
    assert sum(scores[pair] for pair in pairs) == pytest.approx(best[1])


def test_a_poor_pair_bends_no_other() -> None:
    scores = np.array([[0.9, 0.6], [0.6, -0.9]])
    np.testing.assert_array_equal(match_scores(scores).match, [1, 0])
    found = match_scores(scores, least=0.0)
    np.testing.assert_array_equal(found.match, [1, 0])
    found = match_scores(np.array([[0.9, 0.2], [0.3, -0.9]]), least=0.0)
    np.testing.assert_array_equal(found.match, [0, NONE])
    assert np.isnan(found.similarity[1]) and found.best[1] == 0.3


def test_nothing_to_match_gives_no_partner() -> None:
    found = match_scores(np.full((3, 2), np.nan))
    assert not found.matched.any()
    assert np.isnan(found.mean)


@pytest.mark.parametrize("dense_pairs", [1 << 24, 0])
def test_a_permuted_dictionary_is_recovered(dense_pairs: int) -> None:
    first = crosscoder()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    second = crosscoder()
    with torch.no_grad():
        second.W_dec.copy_(first.W_dec[order] * 3.0)
    found = match_dictionaries(first, second, candidates=5, dense_pairs=dense_pairs)
    np.testing.assert_array_equal(order.numpy()[found.match], np.arange(24))
    np.testing.assert_allclose(found.similarity, 1.0, atol=1e-6)
    np.testing.assert_array_equal(found.nearest, found.match)


def test_sizes_may_differ_and_the_candidates_solve_it_as_the_whole_table_does() -> None:
    generator = torch.Generator().manual_seed(2)
    small, large = torch.randn(30, 12, generator=generator), torch.randn(70, 12, generator=generator)
    large[5:35] = small + 0.2 * torch.randn(30, 12, generator=generator)
    for a, b in ((small, large), (large, small)):
        whole = match_directions(a, b)
        some = match_directions(a, b, candidates=12, dense_pairs=0)
        # What has no counterpart is paired by chance, and may be paired otherwise.
        sure = whole.similarity > 0.7
        assert sure.sum() == 30
        np.testing.assert_array_equal(some.match[sure], whole.match[sure])
        np.testing.assert_allclose(some.best, whole.best, atol=1e-6)
        np.testing.assert_allclose(some.similarity[sure], whole.similarity[sure], atol=1e-6)


def test_latents_without_a_direction_have_no_partner() -> None:
    first = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
    second = first.clone()
    first[2] = 0
    second[4] = 0
    for dense_pairs in (1 << 24, 0):
        found = match_directions(first, second, dense_pairs=dense_pairs)
        assert found.match[2] == NONE and np.isnan(found.similarity[2]) and np.isnan(found.best[2])
        assert 4 not in found.match
        np.testing.assert_array_equal(found.match[[0, 1, 3, 5]], [0, 1, 3, 5])


def test_sources_are_aligned_by_name() -> None:
    first, second = crosscoder(names=("a", "b", "c")), crosscoder(names=("c", "x", "a"))
    with torch.no_grad():
        second.W_dec[:, 0], second.W_dec[:, 2] = first.W_dec[:, 2], first.W_dec[:, 0]
    found = match_dictionaries(first, second)
    np.testing.assert_array_equal(found.match, np.arange(24))
    np.testing.assert_allclose(found.similarity, 1.0, atol=1e-6)


def test_dictionaries_that_share_nothing_are_refused() -> None:
    with pytest.raises(AnalysisError, match="no source of the same name"):
        match_dictionaries(crosscoder(), crosscoder(names=("other",)))
    with pytest.raises(AnalysisError, match="widths 16 and 8"):
        match_dictionaries(crosscoder(), crosscoder(d_model=8))


def test_folding_changes_no_concatenated_decoder() -> None:
    made = crosscoder()
    made.set_scales(torch.tensor([0.5, 2.0, 10.0]))
    places = [0, 1, 2]
    torch.testing.assert_close(
        concatenate_decoders(made.fold_scales(), places), concatenate_decoders(made, places), rtol=1e-5, atol=1e-6
    )


def test_random_decoders_have_the_norms_given_and_match_by_chance_alone() -> None:
    norms = torch.rand(200, 3, generator=torch.Generator().manual_seed(4))
    random = random_decoders(norms, 64, seed=0)
    torch.testing.assert_close(random.unflatten(1, (3, 64)).norm(dim=2), norms)
    assert torch.equal(random, random_decoders(norms, 64, seed=0))
    assert match_directions(random, random_decoders(norms, 64, seed=1)).similarity.max() < 0.6


def test_the_best_are_found_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ontogeny.latents.matching.BLOCK_PAIRS", 50)
    generator = torch.Generator().manual_seed(5)
    first, second = torch.randn(23, 6, generator=generator), torch.randn(17, 6, generator=generator)
    values, places = find_best(first, second, 4)
    expected = torch.topk(first @ second.T, 4)
    np.testing.assert_array_equal(places, expected.indices.numpy())
    np.testing.assert_allclose(values, expected.values.numpy(), rtol=1e-5)
