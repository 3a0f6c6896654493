"""Between which latents edges are traced, how they are pruned and checked. Torch-free."""

from typing import Literal

from pydantic import Field, field_validator

from ontogeny.interventions.config import ChangeConfig


class CircuitsConfig(ChangeConfig):
    """Which latents drive which, from one hook point to a later one, and when does a circuit assemble?"""

    upstream: str | None = None
    """Name or id of the dictionary that edges begin in, over the same snapshots at an earlier hook point; without one
    they begin in the run's own dictionary, which then lies at two hook points."""
    hook_points: list[str] | None = None
    """Two: where edges begin, and where they end; may be left out where the dictionaries leave no choice."""
    nodes: int = Field(default=24, ge=1)
    """Latents on each side: those with the largest |effect| in any snapshot, on one half of the clusters."""
    evidence: Literal["whole", "own"] = "whole"
    """How a downstream latent's shared code answers to its own snapshot: whole, as if the other snapshots had moved
    alike (its change over the share of its evidence that this one gives); own, with the others as they are."""
    explained: float = Field(default=0.8, gt=0, lt=1)
    """Share of the effect that a circuit must hold."""
    least: float = Field(default=0.01, ge=0, lt=1)
    """Least |effect| of an edge in a circuit, as a share of what all traced edges sum to in the snapshot where that is
    most: so that what is significant but next to nothing makes no circuit where there is no behaviour."""
    verify: int = Field(default=30, ge=0)
    """Strongest edges of a snapshot that are patched one by one; 0 verifies none."""
    prompts: int = Field(default=128, ge=2)
    """Most prompts, of the other half of the clusters, on which edges are patched and circuits are run."""
    control_seeds: int = Field(default=3, ge=1)
    """Draws of every control."""
    false_discoveries: float = Field(default=0.05, gt=0, lt=1)
    """Share of false discoveries allowed among the significant edges of a behaviour."""
    flips: int = Field(default=1_000, ge=1)
    """Flips of the clusters' signs in tests."""
    draws: int = Field(default=200, ge=2)
    """Draws of clusters for intervals."""
    min_clusters: int = Field(default=6, ge=2)
    """Clusters in which an edge must have an effect to be tested."""

    @field_validator("hook_points")
    @classmethod
    def _two(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(value) != 2:
            raise ValueError(f"takes two hook points, where edges begin and where they end, not {len(value)}")
        return value
