"""What every question to the latents of a behaviour needs: pairs, where they are changed, to what. Torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from ontogeny.config import Config
from ontogeny.tokens.pairs.config import BehaviourConfig, PairPolicy


class ChangeConfig(Config):
    """Which behaviours, in which sources, and how their latents move to a baseline."""

    behaviours: list[BehaviourConfig] = Field(default=[BehaviourConfig(kind="agreement")])
    """The behaviours: minimal pairs from files or generators."""
    policy: PairPolicy = PairPolicy()
    """How pairs become tokens, and which are skipped."""
    hook_points: list[str] | None = None
    """Only sources at these hook points of the dictionary; all by default."""
    steps: int = Field(default=5, ge=1)
    """Steps of integrated gradients."""
    rule: Literal["left", "mid", "trapezoid", "legendre"] = "mid"
    """Rule of integrated gradients."""
    baseline: Literal["auto", "pair", "mean", "zero"] = "auto"
    """Where the path ends: the patch prompt, mean contributions, nothing; auto: pair where there is one, else mean."""
    skip_first: int = Field(default=1, ge=0)
    """First positions of a prompt that stay as they are."""
    positions: list[Annotated[int, Field(le=-1)]] | None = Field(default=None, min_length=1)
    """Only these positions move, counted from the prompt's last one backwards (-1 is the last)."""
    batch: int = Field(default=32, ge=1)
    """Prompts in one forward pass."""
    seed: int = 0
    """Seed of flips, draws and halves."""
