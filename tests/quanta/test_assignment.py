"""Held-out tokens find their clusters again, by exact products, in chunks that are kept."""

from pathlib import Path

import numpy as np
import pytest

from ontogeny.errors import AnalysisError
from ontogeny.quanta import assignment
from ontogeny.quanta.affinity import compute_regularised_affinity
from ontogeny.quanta.assignment import Assignment, EmbeddingScores, MeanCosines, assign_tokens
from ontogeny.quanta.clustering import embed_affinity, link_tokens
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.gram import compute_gram
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.load import load_model
from paths import BOOKS, requires_shared
from quanta.book_tokens import repeated_documents
from quanta.gradient_oracles import DOCUMENTS, tiny_model


def test_the_mean_cosine_with_every_cluster() -> None:
    similarity = np.array([[1.0, 0.0, 0.5, 0.1], [0.2, 0.2, 0.9, 0.2]])
    scores = MeanCosines(np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(scores(similarity), [[0.75, 0.05], [0.55, 0.2]])
    found = Assignment.of(np.array([5, 6]), scores, similarity)
    assert found.labels.tolist() == [0, 0]
    np.testing.assert_allclose(found.margins, [0.7, 0.35])
    np.testing.assert_allclose(found.cosines, found.scores)


def test_landmarks_extend_to_their_own_places() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 4)) + 3 * np.eye(4)[rng.integers(0, 4, 30)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    joined = compute_regularised_affinity(similarity)
    np.fill_diagonal(joined, 0)
    embedding = embed_affinity(joined, 4)
    labels = embedding.labels(4)
    scores = EmbeddingScores(embedding, labels, lambda _: joined)
    np.testing.assert_allclose(scores.extend(similarity), embedding.vectors, atol=1e-9)
    assert (scores(similarity).argmax(axis=1) == labels).mean() > 0.9


def test_an_embedding_without_a_scale_is_refused() -> None:
    embedding = embed_affinity(np.ones((5, 5)) - np.eye(5), 2)
    empty = type(embedding)(embedding.vectors, np.array([1.0, 0.0]))
    with pytest.raises(AnalysisError, match="2 clusters need an eigenvector of eigenvalue 0"):
        EmbeddingScores(empty, np.array([0, 1, 0, 1, 0]), np.asarray)


def test_chunks_are_kept_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, landmarks = tiny_model("llama"), np.arange(0, 9), np.array([20, 11, 14, 16, 23])
    scores = MeanCosines(np.array([0, 1, 0, 1, 0]))
    config = GramConfig(whitening="adam")
    whole = assign_tokens(model, DOCUMENTS, tokens, landmarks, scores, config)
    computed = []
    answer = assignment.answer_cross
    monkeypatch.setattr(
        assignment, "answer_cross", lambda *args, **more: (computed.append(args[1]), answer(*args, **more))[1]
    )
    assign_tokens(model, DOCUMENTS, tokens[:4], landmarks, scores, config, tmp_path, chunk=4)
    found = assign_tokens(model, DOCUMENTS, tokens, landmarks, scores, config, tmp_path, chunk=4)
    assert [len(each) for each in computed] == [4, 4, 1]
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_allclose(found.scores, whole.scores, atol=1e-12)
    np.testing.assert_allclose(found.margins, whole.margins, atol=1e-12)
    # Of the chunks only results are left, and the whitening that all share.
    assert len(list(tmp_path.glob("chunk-*.safetensors"))) == 3
    assert (
        not [path for path in tmp_path.glob("chunk-*") if path.is_dir()] and len(list(tmp_path.glob("moments.*"))) == 1
    )


@requires_shared
def test_held_out_members_come_back_to_their_clusters() -> None:
    model = HookedModel(load_model(str(BOOKS / "step3000")).float())
    documents, tokens = repeated_documents()
    similarity = compute_gram(model, documents, tokens).similarity()
    affinity = compute_regularised_affinity(similarity)
    embedding = embed_affinity(affinity, 8)
    for labels, is_spectral in ((link_tokens(similarity).labels(8), False), (embedding.labels(8, n_init=3), True)):
        kept = np.random.default_rng(0).permutation(len(tokens)) % 3 > 0
        counts = np.bincount(labels[kept], minlength=8)
        home = np.isin(labels, np.flatnonzero(counts >= 2))
        landmarks, held_out = kept & home, ~kept & home
        _, own = np.unique(labels[landmarks], return_inverse=True)
        cosines = similarity[np.ix_(held_out, landmarks)]
        if is_spectral:
            clean = compute_regularised_affinity(similarity[np.ix_(landmarks, landmarks)], 0.0)
            background = 0.3 * clean.mean()
            inner = embed_affinity(clean + background, 8)
            scores = EmbeddingScores(inner, own, lambda c, b=background: compute_regularised_affinity(c, 0.0) + b)
        else:
            scores = MeanCosines(own)
        found = assign_tokens(model, documents, tokens[held_out], tokens[landmarks], scores, chunk=16)
        np.testing.assert_array_equal(found.labels, Assignment.of(tokens[held_out], scores, cosines).labels)
        _, truth = np.unique(labels[home], return_inverse=True)
        assert (found.labels == truth[held_out[home]]).mean() > 0.8
        assert np.median(found.margins) > 0
