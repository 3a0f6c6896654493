"""What is attributed, how, and how it is tested. Torch-free."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ontogeny.config import Added
from ontogeny.interventions.config import ChangeConfig

_PUBLISHED = {"path": "joint", "rule": "left", "baseline": "zero", "skip_first": 0, "positions": None}
LEGACY: dict[str, dict[str, Any]] = {
    "as_run": {**_PUBLISHED, "method": "atp", "steps": 1},
    "as_meant": {**_PUBLISHED, "method": "ig", "steps": 10},
}
"""What the two readings of the published "IG-10" fix. As run it is one gradient: in the nnsight that the code pins, the
metrics of all ten steps read the first one's rows."""
LEGACY_DEFAULTS = {"batch": 4}
"""Padding is part of the published mean: batches of four are padded to their own longest prompt."""


class IndirectEffectsConfig(ChangeConfig):
    """What does each latent do to a behaviour? Indirect effects in every snapshot, RelIE, exact checks."""

    method: Literal["atp", "ig", "exact"] = "ig"
    """atp: one gradient at the clean state; ig: the mean gradient along the path; exact: the model run with each latent
    patched (one forward a latent)."""
    path: Literal["joint", "error_kept", "single"] = "joint"
    """joint: latents and what they leave unexplained move together; error_kept: all latents move, the error stays;
    single: each latent moves by itself, which comes to patching it, as method = "exact"."""
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
    sound_slopes: Annotated[tuple[float, float], Added] = (0.5, 2.0)
    """Slopes of exact on estimated effects that pass; an estimate with another slope is called poor."""
    top: int = Field(default=20, ge=1)
    """Latents listed a group, and compared between groups and snapshots."""
    legacy: Literal["as_run", "as_meant"] | None = None
    """Published numbers, in tables of their own. as_run: one gradient at the clean state, which is what the public code
    computes where it asks for ten; as_meant: the mean of ten (left rule). Both fix baseline = "zero", skip_first = 0
    and all positions."""
    legacy_threshold: float = Field(default=0.1, ge=0)
    """With `legacy`: effects at a single position that are not larger are taken as 0, as published; 0 keeps all."""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        """What `legacy` fixes; a setting that says otherwise is refused."""
        if not isinstance(given, dict) or given.get("legacy") not in LEGACY:
            return given
        fixed = LEGACY[given["legacy"]]
        for key, value in fixed.items():
            if given.get(key, value) != value:
                raise ValueError(f"legacy = {given['legacy']!r} fixes {key} = {value!r}; leave {key} out")
        return {**LEGACY_DEFAULTS, **given, **fixed}

    @model_validator(mode="after")
    def _slopes_in_order(self) -> "IndirectEffectsConfig":
        low, high = self.sound_slopes
        if not low < high:
            raise ValueError(f"sound_slopes = [{low:g}, {high:g}]: the first must be below the second")
        return self

    @property
    def patches_each(self) -> bool:
        """Whether every latent is patched by itself: the gradient along its own path integrates to just that."""
        return self.method == "exact" or self.path == "single"
