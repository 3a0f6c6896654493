"""Statistics of latents against brute force on the dense codes."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latents.small import KINDS, N_LATENTS, NAMES, corpus, dictionary, store
from ontogeny.activations.stream import TokenColumns
from ontogeny.evaluation.metrics import compute_ratio
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.documents import DocumentRuns, Documents
from ontogeny.latents.passes import run_pass
from ontogeny.latents.statistics import (
    Strengths,
    compute_group_shares,
    compute_histogram,
    compute_source_strengths,
    compute_strengths,
)
from ontogeny.latents.token_groups import GroupsOfPass

QUANTILES = (0.5, 0.9, 0.99)


def cache(folder: Path, kind: str = "batchtopk", gate: str = "shared") -> CodeCache:
    made = dictionary(kind, gate)
    writer = CodeCacheWriter(folder / "codes", made, "d1")
    run_pass(made, store(folder), {}, batch_size=33, cache=writer)
    return writer.finish()


def check(found: Strengths, latent: int, values: np.ndarray, documents: np.ndarray) -> None:
    """One latent's strengths against its dense values [token] (0: not on)."""
    on = values > 0
    clusters = range(documents.max() + 1)
    counts = np.array([on[documents == c].sum() for c in clusters], dtype=float)
    sums = np.array([values[documents == c].sum(dtype=np.float64) for c in clusters])
    sizes = np.array([(documents == c).sum() for c in clusters], dtype=float)
    density, mean = compute_ratio(counts, sizes), compute_ratio(sums, counts)
    assert found.n_active[latent] == on.sum()
    assert found.density[latent] == pytest.approx(density.value)
    if not on.any():
        numbers = (found.density_se, found.mean, found.mean_se, found.largest, *found.quantiles)
        assert all(np.isnan(number[latent]) for number in numbers)
        return
    assert found.density_se[latent] == pytest.approx(density.se)
    assert found.mean[latent] == pytest.approx(mean.value)
    assert found.mean_se[latent] == pytest.approx(np.nan if mean.se is None else mean.se, nan_ok=True)
    assert found.largest[latent] == values.max()
    expected = np.quantile(values[on].astype(np.float64), QUANTILES)
    assert [each[latent] for each in found.quantiles] == pytest.approx(expected.tolist(), rel=1e-12)


@pytest.mark.parametrize(("kind", "gate"), KINDS)
def test_strengths_are_those_of_brute_force(tmp_path: Path, kind: str, gate: str) -> None:
    found = cache(tmp_path, kind, gate)
    documents = Documents.from_columns(found.columns)
    codes = found.codes(0, found.n_tokens)
    dense = codes.dense().numpy()
    per_source = [(codes.dense(s).double() * codes.norms[:, s].double()).numpy() for s in range(len(NAMES))]
    for block in found.iter_blocks(max_pairs=100):
        strengths = compute_strengths(block, documents, QUANTILES)
        by_source = compute_source_strengths(block, documents, QUANTILES, strengths)
        for latent in range(block.n_latents):
            check(strengths, latent, dense[:, block.first + latent], documents.of)
            for source in range(len(NAMES)):
                check(by_source[source], latent, per_source[source][:, block.first + latent], documents.of)


def test_group_shares_are_those_of_brute_force(tmp_path: Path) -> None:
    found, text = cache(tmp_path), corpus()
    documents = Documents.from_columns(found.columns)
    groups = GroupsOfPass.from_columns(found.columns, text)
    assert groups.names == (
        "text/text", "mask/control", "position/1", "position/2-3", "position/4-7", "position/8-15"
    )  # fmt: skip
    row, position = np.asarray(found.columns.row), np.asarray(found.columns.position)
    assert np.array_equal(groups.member("mask/control"), text.masks["control"][row, position])
    assert np.array_equal(groups.member("position/4-7"), (position >= 4) & (position <= 7))
    on = found.codes(0, found.n_tokens).dense().numpy() > 0
    block = found.block(0, N_LATENTS)
    shares = compute_group_shares(block, documents, groups, groups.sizes(documents))
    clusters = range(documents.n_documents)
    for place, name in enumerate(groups.names):
        member = groups.member(name)
        assert shares.n_tokens[place] == member.sum()
        sizes = np.array([member[documents.of == c].sum() for c in clusters], dtype=float)
        for latent in range(N_LATENTS):
            inside = np.array([(member & on[:, latent])[documents.of == c].sum() for c in clusters], dtype=float)
            active = np.array([on[documents.of == c, latent].sum() for c in clusters], dtype=float)
            density, share = compute_ratio(inside, sizes), compute_ratio(inside, active)
            assert shares.n_active[latent, place] == inside.sum()
            assert shares.density[latent, place] == pytest.approx(density.value)
            if inside.any():
                assert shares.density_se[latent, place] == pytest.approx(density.se)
            expected = [np.nan if number is None else number for number in (share.value, share.se)]
            if share.value in (0.0, 1.0):
                expected[1] = np.nan
            assert [shares.share[latent, place], shares.share_se[latent, place]] == pytest.approx(expected, nan_ok=True)


def test_histograms_hold_every_active_token(tmp_path: Path) -> None:
    found = cache(tmp_path)
    block = found.block(0, N_LATENTS)
    counts, edges = compute_histogram(block, 7)
    assert np.array_equal(counts.sum(axis=1), found.counts)
    for latent in range(1, N_LATENTS):
        values = found.latent(latent)[1]
        if len(values):
            expected, bounds = np.histogram(values.astype(np.float64), bins=7, range=(0.0, float(values.max())))
            assert counts[latent].tolist() == expected.tolist()
            assert edges[latent] == pytest.approx(bounds)


def test_documents_that_are_taken_up_again_are_one_cluster() -> None:
    document, row = np.array([7, 7, 3, 7, -1, -1]), np.array([0, 0, 0, 1, 4, 5])
    columns = TokenColumns(token=row, document=document, position=row, row=row, text_source=row)
    documents = Documents.from_columns(columns)
    assert documents.of.tolist() == [0, 0, 1, 0, 2, 3] and not documents.in_order
    values = np.array([1, 2, 4, 8], dtype=np.float32)
    block = LatentBlock(0, np.array([0, 4]), np.array([0, 2, 3, 4]), values, np.ones((1, 1), np.float32))
    runs = DocumentRuns.of_block(block, documents)
    assert runs.documents.tolist() == [0, 1, 2] and runs.sums(block.values).tolist() == [5, 2, 8]


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 6), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_values_are_sorted_within_latents(counts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).exponential(size=sum(counts)).astype(np.float32)
    pointer = np.concatenate([[0], np.cumsum(counts)])
    norms = np.ones((len(counts), 1), dtype=np.float32)
    block = LatentBlock(3, pointer, np.arange(len(values)), values, norms)
    expected = [np.sort(values[start:stop]) for start, stop in itertools.pairwise(pointer)]
    assert np.array_equal(block.sorted_values, np.concatenate(expected))


def test_a_latent_in_one_document_has_no_standard_error() -> None:
    columns = TokenColumns(*(np.zeros(5, dtype=np.int64) for _ in range(5)))
    documents = Documents.from_columns(columns)
    block = LatentBlock(0, np.array([0, 2]), np.array([0, 3]), np.ones(2, np.float32), np.ones((1, 1), np.float32))
    found = compute_strengths(block, documents, QUANTILES)
    assert found.mean.tolist() == [1.0] and np.isnan(found.mean_se).all() and np.isnan(found.density_se).all()


def test_a_cache_knows_its_l0(tmp_path: Path) -> None:
    found = cache(tmp_path)
    assert torch.equal(found.codes(0, found.n_tokens).l0().sum(), torch.tensor(found.n_pairs))
