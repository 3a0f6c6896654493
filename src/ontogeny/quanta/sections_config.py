"""The sections of a recipe that ask for losses of tokens and for their clusters. Torch-free."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ontogeny.config import Config, Immaterial
from ontogeny.quanta.config import GramConfig, TokenChoice
from ontogeny.snapshots.config import SeriesConfig


class LossesConfig(Config):
    """The loss of every snapshot on every predicted token: −log P of it given its document before it, nats, float32."""

    split: Literal["all", "held_out", "train"] = "all"
    """Which documents of the corpus."""
    max_length: Annotated[int, Field(ge=2)] = 1024
    """Tokens that a document is cut to, as published, or as many as the models have positions for."""
    max_documents: Annotated[int | None, Field(ge=1)] = None
    """Most documents, the first of the split; none means all."""
    sizes: dict[str, SeriesConfig] = Field(default_factory=dict)
    """Other series of the same tokenizer by name, smaller or larger models say, measured on the same tokens."""
    batch_tokens: Annotated[int, Field(ge=1), Immaterial] = 4096
    """Tokens of one forward, padding counted."""


class QuantaConfig(Config):
    """Tokens clustered by the gradients of their losses; defaults as published, but for the affinity."""

    chosen_at: str | None = None
    """Label of the snapshot whose losses choose the tokens; the last without it."""
    choice: TokenChoice = TokenChoice()
    """Which tokens."""
    snapshots: tuple[str, ...] | None = None
    """Labels of the snapshots at which the chosen tokens are compared; without it `n_snapshots` of them."""
    n_snapshots: Annotated[int, Field(ge=1)] = 1
    """At how many snapshots tokens are compared: where equal parts of the fall of their mean loss are done, and the
    last."""
    kernel: Literal["gradients", "activations", "curves", "both"] = "gradients"
    """What is compared: gradients of losses, MLP activations where a token is predicted, losses over all snapshots by
    their correlation (curves), or the mean of gradients and curves (both): it finds most of what is planted."""
    gram: GramConfig = GramConfig()
    """Products of gradients: of which parameters, in which precision."""
    optimizer_states: str | None = None
    """Files with Adam's `exp_avg_sq.NAME` for `gram.whitening = "adam"`, with {label} for a snapshot's; without it
    `optimizer.safetensors` in a snapshot's folder, else the second moment is estimated from the tokens."""
    method: Literal["regularised", "angular", "linkage"] = "regularised"
    """Spectral clusters of the regularised affinity or of the published angular one, or average linkage."""
    background: Annotated[float, Field(ge=0)] = 0.3
    """Regularised affinity: background in means of the affinity."""
    n_clusters: Annotated[int, Field(ge=1)] = 400
    """How many clusters."""
    n_init: Annotated[int, Field(ge=1)] = 30
    """Spectral: starts of k-means, of which the best counts."""
    seed: int = 0
    """Of k-means."""

    @model_validator(mode="after")
    def _consistent(self) -> "QuantaConfig":
        if self.n_clusters >= self.choice.n_tokens:
            raise ValueError(
                f"n_clusters = {self.n_clusters} must be smaller than choice.n_tokens = {self.choice.n_tokens}"
            )
        if self.optimizer_states is not None and not self.whitens_by_adam:
            raise ValueError(
                'optimizer_states is read for kernel = "gradients" with gram.whitening = "adam" alone; set those, or '
                "leave it out"
            )
        if self.snapshots is not None and not self.snapshots:
            raise ValueError("snapshots is empty; name at least one")
        return self

    @property
    def compares_gradients(self) -> bool:
        """Whether gradients of losses are part of what is compared."""
        return self.kernel in ("gradients", "both")

    @property
    def compares_curves(self) -> bool:
        """Whether losses over all snapshots are."""
        return self.kernel in ("curves", "both")

    @property
    def whitens_by_adam(self) -> bool:
        """Whether gradients are divided by the root of their second moment."""
        return self.compares_gradients and self.gram.whitening == "adam"
