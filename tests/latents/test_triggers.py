"""What switches latents on: planted triggers, and the sums against plain Python."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from ontogeny.activations.stream import TokenColumns
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import Documents
from ontogeny.latents.triggers import KindTables, TokenKinds, compute_variety, sort_tokens
from ontogeny.tokens.corpus import Corpus

VOCABULARY, ROWS, LENGTH = 12, 120, 25


def text(seed: int = 0) -> tuple[Corpus, TokenColumns]:
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
    corpus = Corpus.from_tokens(tokens)
    row, position = np.divmod(np.arange(tokens.size), LENGTH)
    return corpus, TokenColumns(tokens.reshape(-1), row, position, row, np.zeros_like(row))


def block_of(active: list[np.ndarray], seed: int = 0) -> LatentBlock:
    """Latents that are on where the masks say so, with random values."""
    generator = np.random.default_rng(seed)
    tokens = [np.flatnonzero(mask) for mask in active]
    values = [generator.random(len(each)).astype(np.float32) + 0.1 for each in tokens]
    pointer = np.concatenate([[0], np.cumsum([len(each) for each in tokens])])
    return LatentBlock(
        7, pointer, np.concatenate(tokens), np.concatenate(values), np.ones((len(active), 1), np.float32)
    )


@pytest.fixture(scope="module")
def planted() -> tuple[LatentBlock, TokenKinds, Documents]:
    """A token, a bigram, the start of documents, any token at all, nothing, one of three tokens."""
    corpus, columns = text()
    token = np.asarray(columns.token)
    previous = np.where(columns.position > 0, np.roll(token, 1), -1)
    masks = [
        token == 5,
        (token == 3) & (previous == 4),
        columns.position == 0,
        np.random.default_rng(1).random(len(token)) < 0.1,
        np.zeros(len(token), bool),
        np.isin(token, [1, 2, 9]),
    ]
    return block_of(masks), sort_tokens(columns, corpus), Documents.from_columns(columns)


def test_tables_find_what_was_planted(planted: tuple[LatentBlock, TokenKinds, Documents]) -> None:
    block, kinds, documents = planted
    found = KindTables(kinds, documents).explain(block)
    mcc = {name: each.mcc for name, each in found.items()}
    assert mcc["unigram"][0] == pytest.approx(1.0)
    assert 0.1 < mcc["unigram"][1] < 0.5
    assert mcc["bigram"][1] == pytest.approx(1.0)
    assert mcc["position"][2] == pytest.approx(1.0)
    assert mcc["unigram"][5] == pytest.approx(1.0)
    for each in found.values():
        # Learned and tested on different documents, chance is told from a trigger, by its own standard error too.
        assert abs(each.mcc[3]) < 4 * each.mcc_se[3] < 0.15
        assert np.isnan(each.mcc[4]) and np.isnan(each.mcc_se[4])


def test_variety_is_what_plain_sums_give(planted: tuple[LatentBlock, TokenKinds, Documents]) -> None:
    block, kinds, documents = planted
    found = compute_variety(block, kinds, documents)
    _, columns = text()
    for latent in range(block.n_latents):
        pairs = slice(block.pointer[latent], block.pointer[latent + 1])
        where, values = block.tokens[pairs], block.values[pairs].astype(np.float64)
        if len(where) == 0:
            assert found.token[latent] == -1 and np.isnan(found.purity[latent]) and np.isnan(found.entropy[latent])
            continue
        mass: dict[int, float] = defaultdict(float)
        for token, value in zip(columns.token[where], values, strict=True):
            mass[int(token)] += value
        best, most = Counter(mass).most_common(1)[0]
        share = np.array(list(mass.values())) / values.sum()
        assert found.token[latent] == best
        assert found.n_kinds[latent] == len(mass)
        assert found.purity[latent] == pytest.approx(most / values.sum())
        assert found.entropy[latent] == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-9)
        assert found.place[latent] == pytest.approx(columns.position[where].mean())
        assert found.context_entropy[latent] >= found.entropy[latent] - 1e-9
    assert found.purity_se[0] == pytest.approx(0.0, abs=1e-9)


def test_the_standard_error_of_purity_is_that_over_documents() -> None:
    corpus, columns = text()
    documents, kinds = Documents.from_columns(columns), sort_tokens(columns, corpus)
    spread = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        drawn = generator.random(len(columns.token)) < np.where(columns.token == 5, 0.9, 0.05)
        found = compute_variety(block_of([drawn], seed), kinds, documents)
        spread.append((found.purity[0], found.purity_se[0]))
    values, errors = np.array(spread).T
    # The text is the same each time, so what is redrawn is a part of the whole error.
    assert 0.5 < values.std() / errors.mean() < 1.5


def test_a_bigram_does_not_reach_over_the_edge_of_a_document() -> None:
    corpus, columns = text()
    kinds = sort_tokens(columns, corpus)
    firsts = np.asarray(columns.position) == 0
    assert not np.isin(kinds.bigram.of[firsts], kinds.bigram.of[~firsts]).any()
    np.testing.assert_array_equal(kinds.position.of[:5], [0, 1, 1, 2, 2])
