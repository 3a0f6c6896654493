"""Which behaviours are followed over the snapshots, and how snapshots are chosen. Torch-free."""

from typing import Literal

from pydantic import Field

from ontogeny.config import Config
from ontogeny.tokens.pairs.config import BehaviourConfig, PairPolicy


class BehavioursConfig(Config):
    """When does a model learn a behaviour? Accuracy and logit difference per snapshot; which snapshots to choose."""

    behaviours: list[BehaviourConfig] = Field(default=[BehaviourConfig(kind="agreement")])
    """The behaviours: minimal pairs from files or generators."""
    policy: PairPolicy = PairPolicy()
    """How pairs become tokens, and which are skipped."""
    sentences: bool = True
    """Score whole sentences too, where pairs have them."""
    draws: int = Field(default=1_000, ge=1)
    """Draws of clusters for the intervals."""
    min_clusters: int = Field(default=10, ge=2)
    """Fewest independent groups of pairs of which it is said whether a snapshot is above chance."""
    similarity_tokens: int = Field(default=2_048, ge=0)
    """Tokens of a behaviour on which activations are compared; 0 compares none."""
    choose: int = Field(default=4, ge=2)
    """Snapshots to choose: those that best cover the change."""
    change_weight: float = Field(default=1.0, ge=0)
    """Weight of 1 - similarity beside the change of accuracy."""
    similarity: Literal["cosine", "cosine_centred", "pearson", "cka"] = "cka"
    """The similarity that choosing goes by."""
    manual: list[str] = Field(default=[])
    """Labels of snapshots chosen by hand, in place of the choice."""
    batch: int = Field(default=32, ge=1)
    """Prompts in one forward pass."""
    seed: int = 0
    """Seed of draws and of the tokens compared."""
