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


@runtime_checkable
class Scores(Protocol):
    """How near tokens are to clusters, from their cosines with landmarks; `identity` tells rules apart."""

    identity: str

    def __call__(self, similarity: Float[np.ndarray, "token landmark"]) -> Float[np.ndarray, "token cluster"]:
        """The larger, the nearer."""
        ...


class MeanCosines:
    """The mean cosine with a cluster's landmarks, as in average linkage."""

    def __init__(self, labels: Int[np.ndarray, " landmark"]) -> None:
        """`labels` from 0, as the clusters are numbered."""
        self.identity = fingerprint_of(labels)
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
    """The cluster of every token, its score, and by how much that beats the second best."""

    tokens: Int[np.ndarray, " token"]
    """Canonical indices."""
    labels: Int[np.ndarray, " token"]
    scores: Float[np.ndarray, " token"]
    margins: Float[np.ndarray, " token"]

    @classmethod
    def of(cls, tokens: Int[np.ndarray, " token"], scores: Float[np.ndarray, "token cluster"]) -> "Assignment":
        """The best of every row; where there is one cluster, its margin is infinite."""
        best, rows = scores.argmax(axis=1), np.arange(len(scores))
        others = scores.astype(np.float64)
        others[rows, best] = -np.inf
        return cls(tokens, best, scores[rows, best], scores[rows, best] - others.max(axis=1))


def assign_tokens(
    model: HookedModel,
    documents: Documents,
    tokens: Int[np.ndarray, " token"],
    landmarks: Int[np.ndarray, " landmark"],
    scores: Scores,
    config: GramConfig | None = None,
    scratch: Path | None = None,
    chunk: int = 4096,
) -> Assignment:
    """The best cluster of every token by its cosines with landmarks, `chunk` tokens at a time.

    Every chunk makes the landmarks' gradients again: chunks of four times as many tokens add a quarter to the cost.
    With `scratch`, a folder that the caller clears, finished chunks are kept, and a killed call goes on in the next.
    Errors: as `compute_cross_gram`.
    """
    config = GramConfig() if config is None else config
    question = GradientQuestion.of(model, documents, config, landmarks, scratch, None)
    parts = []
    for start in range(0, len(tokens), chunk):
        chosen = np.asarray(tokens[start : start + chunk])
        kept = _Chunk(question, chosen, np.asarray(landmarks), scores)
        parts.append(kept.load() or kept.compute())
    names = ("labels", "scores", "margins")
    return Assignment(np.asarray(tokens), *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


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
        return Assignment(self.tokens, *(np.asarray(kept[name]) for name in ("labels", "scores", "margins")))

    def compute(self) -> Assignment:
        """Compare with the landmarks, keep the result, and drop the streams."""
        question = dataclasses.replace(self.question, scratch=self.folder)
        cross = answer_cross(question, self.tokens, self.landmarks)
        found = Assignment.of(self.tokens, self.scores(cross.similarity()))
        if self.folder is not None:
            columns = {name: getattr(found, name) for name in ("labels", "scores", "margins")}
            write_bytes(self.folder.with_suffix(".safetensors"), save(columns))
            with disk_errors(self.folder):
                shutil.rmtree(self.folder)
        return found
