"""Enrichment of latents on groups of tokens: brute force, what documents change, and blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.enrichment import TokenGroups, compute_enrichment, find_tokens


def blocks_of(on: np.ndarray, size: int) -> list[LatentBlock]:
    """Latents that are on where `on` [token latent] holds, so many a block."""
    found = []
    for first in range(0, on.shape[1], size):
        latent, token = np.nonzero(on[:, first : first + size].T)
        n = min(size, on.shape[1] - first)
        pointer = np.concatenate([[0], np.cumsum(np.bincount(latent, minlength=n))])
        values = np.ones(len(token), dtype=np.float32)
        found.append(LatentBlock(first, pointer, token.astype(np.int32), values, np.ones((n, 1), dtype=np.float32)))
    return found


def brute(on: np.ndarray, group: np.ndarray, which: int, document: np.ndarray) -> tuple[float, float, float, float]:
    """lift, log odds, its standard error, p of one latent on one group."""
    inside = group == which
    n, n_q = len(on), inside.sum()
    a, b = (on & inside).sum(), (on & ~inside).sum()
    names = np.unique(document)
    correction = len(names) / (len(names) - 1)
    units = {(d, g): on[(document == d) & (group == g)].mean() >= 0.5 for d, g in set(zip(document, group))}
    table = [[sum(on and (g == which) == inside for (_, g), on in units.items()) for inside in (True, False)]]
    table += [[sum((g == which) == inside for _, g in units) - table[0][not inside] for inside in (True, False)]]
    p = stats.fisher_exact(table, alternative="greater").pvalue
    p1, p0 = (a + 0.5) / (n_q + 1), (b + 0.5) / (n - n_q + 1)
    influence = np.where(inside, (on - p1) / (p1 * (1 - p1) * (n_q + 1)), -(on - p0) / (p0 * (1 - p0) * (n - n_q + 1)))
    squares = [influence[document == name].sum() ** 2 for name in names]
    log_odds = np.log(p1 / (1 - p1)) - np.log(p0 / (1 - p0))
    return a / n_q / on.mean(), log_odds, np.sqrt(correction * np.sum(squares)), p


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 9999), st.integers(1, 7))
def test_every_pair_is_as_by_brute_force_whatever_the_blocks(seed: int, size: int) -> None:
    draw = np.random.default_rng(seed)
    group, document = draw.integers(3, size=60), draw.integers(12, size=60)
    on = draw.random((60, 6)) < np.array([0.5, 0.2, 0.05, 0.4, 0.9, 0.0])
    on[:, 3] |= group == 1
    order = draw.permutation(60)
    sample = TokenGroups(order, group[order], document[order] * 7, 3)
    found = compute_enrichment(blocks_of(on, size), sample)
    assert found.n_tests == on.any(axis=0).sum() * len(np.unique(group))
    assert set(zip(found.latent.tolist(), found.group.tolist())) == {
        (latent, each) for latent in range(6) for each in range(3) if (on[:, latent] & (group == each)).any()
    }
    for place, (latent, each) in enumerate(zip(found.latent, found.group)):
        inside = group == each
        expected = brute(on[:, latent], group, each, document)
        got = [getattr(found, name)[place] for name in ("lift", "log_odds", "log_odds_se", "p")]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
        assert found.n_on[place] == (on[:, latent] & inside).sum()
        assert found.n_documents[place] == len(np.unique(document[on[:, latent] & inside]))


def test_a_planted_latent_is_called_and_noise_is_not() -> None:
    draw = np.random.default_rng(0)
    group, document = draw.integers(5, size=400), np.arange(400) // 2
    on = draw.random((400, 200)) < 0.1
    on[:, 7] = (group == 2) & (draw.random(400) < 0.9)
    sample = TokenGroups(np.arange(400), group, document, 5)
    found = compute_enrichment(blocks_of(on, 64), sample)
    called = found.take(np.flatnonzero(found.q <= 0.05))
    assert called.latent.tolist() == [7] and called.group.tolist() == [2]
    assert called.lift[0] == pytest.approx(400 / (group == 2).sum())
    assert called.log_odds[0] > 5 * called.log_odds_se[0]


def test_tokens_of_one_document_are_one_observation() -> None:
    group = np.repeat([0, 1], 40)
    on = (group == 0)[:, None]
    alone = compute_enrichment(blocks_of(on, 1), TokenGroups(np.arange(80), group, np.arange(80), 2))
    once = compute_enrichment(
        blocks_of(on, 1), TokenGroups(np.arange(80), group, np.where(group == 0, 0, np.arange(80)), 2)
    )
    assert alone.p[0] < 1e-9 and once.p[0] > 0.02
    everywhere = compute_enrichment(blocks_of(np.ones((80, 1), bool), 1), TokenGroups(np.arange(80), group, group, 2))
    assert (everywhere.p == 1).all()


def test_an_empty_sample_tests_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    found = compute_enrichment(blocks_of(np.ones((4, 2), bool), 1), TokenGroups(nothing, nothing, nothing, 3))
    assert len(found.p) == 0 and found.n_tests == 0


def test_tokens_are_found_by_document_and_position() -> None:
    document, position = np.array([3, 0, 0, 3]), np.array([1, 0, 5, 0])
    found = find_tokens(document, position, np.array([0, 3, 3, 9, 0]), np.array([5, 0, 1, 0, 1]))
    assert found.tolist() == [2, 3, 0, -1, -1]
    assert find_tokens(document[:0], position[:0], np.array([1]), np.array([1])).tolist() == [-1]
