"""What is attributed, how, and how it is tested. Torch-free."""

from typing import Literal

from pydantic import Field

from ontogeny.config import Config
from ontogeny.tokens.pairs.config import BehaviourConfig, PairPolicy


class IndirectEffectsConfig(Config):
    """What does each latent do to a behaviour? Indirect effects in every snapshot, RelIE, exact checks."""

    behaviours: list[BehaviourConfig] = Field(default=[BehaviourConfig(kind="agreement")])
    """The behaviours: minimal pairs from files or generators."""
    policy: PairPolicy = PairPolicy()
    """How pairs become tokens, and which are skipped."""
    hook_points: list[str] | None = None
    """Only sources at these hook points of the dictionary; all by default."""
    method: Literal["atp", "ig", "exact"] = "ig"
    """atp: one gradient at the clean state; ig: the mean gradient along the path; exact: the model run with each latent
    patched (one forward a latent)."""
    steps: int = Field(default=5, ge=1)
    """Steps of integrated gradients."""
    rule: Literal["left", "mid", "trapezoid", "legendre"] = "mid"
    """Rule of integrated gradients."""
    baseline: Literal["auto", "pair", "mean", "zero"] = "auto"
    """Where the path ends: the patch prompt, mean contributions, nothing; auto: pair where there is one, else mean."""
    path: Literal["joint", "error_kept", "single"] = "joint"
    """joint: latents and what they leave unexplained move together; error_kept: all latents move, the error stays;
    single: each latent moves by itself, which comes to patching it, as method = "exact"."""
    skip_first: int = Field(default=1, ge=0)
    """First positions of a prompt that stay as they are."""
    positions: list[int] | None = None
    """Only these positions move, counted from the prompt's last one backwards (-1 is the last)."""
    false_discoveries: float = Field(default=0.05, gt=0, lt=1)
    """Share of false discoveries allowed among the significant effects of a behaviour."""
    flips: int = Field(default=1_000, ge=1)
    """Flips of the clusters' signs in tests."""
    draws: int = Field(default=200, ge=2)
    """Draws of clusters for intervals and class probabilities."""
    min_clusters: int = Field(default=6, ge=2)
    """Clusters in which a latent must have an effect to be tested."""
    scale: Literal["effect", "none"] = "effect"
    """RelIE of effects over the snapshot's total effect, or of effects as they are."""
    verify: int = Field(default=50, ge=0)
    """Strongest latents of one half of the clusters that are patched one by one on the other half; 0 verifies none."""
    verify_prompts: int = Field(default=128, ge=2)
    """Most prompts on which they are patched."""
    top: int = Field(default=20, ge=1)
    """Latents listed a group, and compared between groups and snapshots."""
    batch: int = Field(default=32, ge=1)
    """Prompts in one forward pass."""
    seed: int = 0
    """Seed of flips, draws and halves."""

    @property
    def patches_each(self) -> bool:
        """Whether every latent is patched by itself: the gradient along its own path integrates to just that."""
        return self.method == "exact" or self.path == "single"
