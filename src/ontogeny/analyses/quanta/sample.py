"""The clustered tokens as one sample: their quanta, their losses in all snapshots, draws of their documents."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta.config import QuantaReportConfig
from ontogeny.latents.clusters import draw_weights, renumber
from ontogeny.quanta.measured import SizeLosses, TokenClusters


@dataclass(frozen=True)
class QuantaSample:
    """`labels`: quantum of every token at the last snapshot clustered; `losses` [token snapshot], nats, float64.

    `documents` renumbered from 0; `weights` [draw token]: how often each token's document was drawn.
    """

    clusters: TokenClusters
    measured: SizeLosses
    labels: Int[np.ndarray, " token"]
    losses: Float[np.ndarray, "token snapshot"]
    documents: Int[np.ndarray, " token"]
    weights: Float[np.ndarray, "draw token"]
    similarity: Float[np.ndarray, "token token"]

    @classmethod
    def of(cls, inputs: AnalysisInputs, config: QuantaReportConfig) -> "QuantaSample":
        """The sample of a run."""
        clusters, losses = inputs.quanta, inputs.losses
        assert clusters is not None and losses is not None, "quanta are made of losses and clusters"
        documents, n_documents = renumber(clusters.documents)
        weights = draw_weights(n_documents, config.draws, config.seed)
        return cls(
            clusters,
            losses.own,
            clusters.labels[clusters.last],
            losses.own.losses[clusters.tokens].astype(np.float64),
            documents,
            weights[:, documents],
            clusters.open_similarity(clusters.last),
        )

    @property
    def n_quanta(self) -> int:
        """How many quanta there are."""
        return int(self.labels.max()) + 1

    @property
    def steps(self) -> list[int | None]:
        """Of the snapshots."""
        return [snapshot.step for snapshot in self.measured.snapshots]

    def members(self, quantum: int) -> Int[np.ndarray, " member"]:
        """Places of a quantum's tokens in the sample."""
        return np.flatnonzero(self.labels == quantum)

    def n_documents(self, quantum: int) -> int:
        """Documents in which a quantum's tokens lie."""
        return len(np.unique(self.documents[self.members(quantum)]))
