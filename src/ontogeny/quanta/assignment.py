"""New tokens put to the clusters of landmarks, chunk after chunk in bounded memory: a million tokens as well as ten."""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import save

from ontogeny.config import content_hash
from ontogeny.errors import AnalysisError
from ontogeny.quanta.clustering import SpectralEmbedding
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gradients.question import GradientQuestion
from ontogeny.quanta.gram import answer_cross
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.corpus import fingerprint_of
from ontogeny.tokens.tensor_file import map_tensors
from ontogeny.workspace import disk_errors, write_bytes

COLUMNS = ("labels", "scores", "margins", "cosines")
"""Of an assignment, in its order."""


@runtime_checkable
class Scores(Protocol):
    """How near tokens are to clusters, from their cosines with landmarks; `identity` tells rules apart.

    `cosines`: the mean cosine with every cluster's landmarks.
    """

    identity: str
    cosines: "MeanCosines"

    def __call__(self, similarity: Float[np.ndarray, "token landmark"]) -> Float[np.ndarray, "token cluster"]:
        """The larger, the nearer."""
        ...


class MeanCosines:
    """The mean cosine with a cluster's landmarks, as in average linkage."""

    def __init__(self, labels: Int[np.ndarray, " landmark"]) -> None:
        """`labels` from 0, as the clusters are numbered."""
        self.identity = fingerprint_of(labels)
        self.cosines = self
        member = np.eye(int(labels.max()) + 1)[labels]
        self._shares = member / member.sum(axis=0)

    def __call__(self, similarity: Float[np.ndarray, "token landmark"]) -> Float[np.ndarray, "token cluster"]:
        return np.asarray(similarity @ self._shares)


class EmbeddingScores:
    """Less the distance to a spectral cluster's mean, after a token is put into the landmarks' embedding.

    The embedding's vectors v solve D⁻¹ A v = λ v, so a new token's place is Σ_j A_ij v_j / (λ Σ_j A_ij).
    Source: Nyström's method; Bengio et al. 2004, Out-of-sample extensions.
    """

    def __init__(
        self,
        embedding: SpectralEmbedding,
        labels: Int[np.ndarray, " landmark"],
        affinity: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """`affinity`: of cosines [token landmark], the one that the landmarks were embedded by, a regularised one with
        the landmarks' background: that of a chunk would depend on what else is in it.
        """
        n_clusters = int(labels.max()) + 1
        self._affinity, self._vectors = affinity, embedding.vectors[:, :n_clusters]
        self._eigenvalues = embedding.eigenvalues[:n_clusters]
        if np.abs(self._eigenvalues).min() < 1e-9:
            raise AnalysisError(
                f"{n_clusters} clusters need an eigenvector of eigenvalue 0, which tells nothing of new tokens; ask "
                "for fewer clusters, or assign by mean cosines."
            )
        member = np.eye(n_clusters)[labels]
        self._means = (member / member.sum(axis=0)).T @ self._vectors
        self.identity = fingerprint_of(labels, np.ascontiguousarray(self._vectors))
        self.cosines = MeanCosines(labels)

    def __call__(self, similarity: Float[np.ndarray, "token landmark"]) -> Float[np.ndarray, "token cluster"]:
        place = self.extend(similarity)
        return -np.asarray(np.linalg.norm(place[:, None] - self._means, axis=2))

    def extend(self, similarity: Float[np.ndarray, "token landmark"]) -> Float[np.ndarray, "token component"]:
        """Places in the embedding; at the origin where a token is joined with no landmark."""
        joined = self._affinity(similarity).astype(np.float64)
        degree = joined.sum(axis=1, keepdims=True)
        return np.asarray(joined @ self._vectors / np.where(degree > 0, degree, 1.0) / self._eigenvalues)


@dataclass(frozen=True)
class Assignment:
    """The cluster of every token, its score, by how much that beats the second best, and how like the cluster it is."""

    tokens: Int[np.ndarray, " token"]
    """Canonical indices."""
    labels: Int[np.ndarray, " token"]
    scores: Float[np.ndarray, " token"]
    margins: Float[np.ndarray, " token"]
    cosines: Float[np.ndarray, " token"]
    """The mean with its cluster's landmarks."""

    @classmethod
    def of(
        cls, tokens: Int[np.ndarray, " token"], scores: Scores, similarity: Float[np.ndarray, "token landmark"]
    ) -> "Assignment":
        """The best cluster for every row of cosines; where there is one cluster, its margin is infinite."""
        found = scores(similarity).astype(np.float64)
        labels, rows = found.argmax(axis=1), np.arange(len(found))
        best = found[rows, labels]
        found[rows, labels] = -np.inf
        return cls(tokens, labels, best, best - found.max(axis=1), scores.cosines(similarity)[rows, labels])


def assign_tokens(
    model: HookedModel,
    documents: Documents,
    tokens: Int[np.ndarray, " token"],
    landmarks: Int[np.ndarray, " landmark"],
    scores: Scores,
    config: GramConfig | None = None,
    scratch: Path | None = None,
    chunk: int | None = None,
    optimizer_state: Path | None = None,
) -> Assignment:
    """The best cluster of every token by its cosines with landmarks, `chunk` tokens at a time.

    Every chunk makes the landmarks' gradients again, and keeps them while those of its tokens stream by: chunks of four
    times as many tokens add a quarter to the cost of gradients, and nothing to that of products, which is larger from
    some hundred landmarks on. That is the default as far as products fit into a third of `config.memory`.
    With `scratch`, a folder that the caller clears, finished chunks are kept, and a killed call goes on in the next.
    Errors: as `compute_cross_gram`.
    """
    config = GramConfig() if config is None else config
    question = GradientQuestion.of(model, documents, config, landmarks, scratch, optimizer_state)
    chunk = _fit_chunk(question, len(landmarks)) if chunk is None else chunk
    parts = []
    for start in range(0, len(tokens), chunk):
        part = _Chunk(question, np.asarray(tokens[start : start + chunk]), np.asarray(landmarks), scores)
        parts.append(part.load() or part.compute())
    kept = (np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)
    return Assignment(np.asarray(tokens), *kept)


def _fit_chunk(question: GradientQuestion, n_landmarks: int) -> int:
    """Four tokens for every landmark, fewer where a matrix [token landmark] and two copies of it would not fit."""
    room = question.config.memory * 1e9 / 3
    return max(1, min(4 * n_landmarks, int(room / (3 * n_landmarks * question.accumulate.itemsize))))


@dataclass(frozen=True)
class _Chunk:
    """Some tokens; their assignment is kept where the question has a folder."""

    question: GradientQuestion
    tokens: Int[np.ndarray, " token"]
    landmarks: Int[np.ndarray, " landmark"]
    scores: Scores

    @cached_property
    def folder(self) -> Path | None:
        """Of this chunk's streams; its result lies beside it."""
        if self.question.scratch is None:
            return None
        documents = self.question.documents
        text = fingerprint_of(documents.tokens, documents.offsets, self.tokens, self.landmarks)
        return self.question.scratch / f"chunk-{content_hash([self.question.identity, self.scores.identity, text])}"

    def load(self) -> Assignment | None:
        """What an earlier call kept."""
        if self.folder is None or not self.folder.with_suffix(".safetensors").is_file():
            return None
        kept = map_tensors(self.folder.with_suffix(".safetensors"))
        return Assignment(self.tokens, *(np.asarray(kept[name]) for name in COLUMNS))

    def compute(self) -> Assignment:
        """Compare with the landmarks, keep the result, and drop the streams."""
        question = dataclasses.replace(self.question, scratch=self.folder)
        cross = answer_cross(question, self.tokens, self.landmarks, together=True)
        found = Assignment.of(self.tokens, self.scores, cross.similarity())
        if self.folder is not None:
            columns = {name: getattr(found, name) for name in COLUMNS}
            write_bytes(self.folder.with_suffix(".safetensors"), save(columns))
            with disk_errors(self.folder):
                shutil.rmtree(self.folder)
        return found
