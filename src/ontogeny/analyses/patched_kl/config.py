"""Which latents are put from one snapshot into another, and on which tokens the result is judged. Torch-free."""

from typing import Literal

from pydantic import Field, model_validator

from ontogeny.config import Config

SetKind = Literal["all", "chat-only", "base-only", "shared", "confirmed", "top"]
Ranking = Literal["delta_norm", "nu", "nu_error", "nu_reconstruction", "size"]
Form = Literal["replace", "add", "revert"]
Group = Literal["all", "text", "template", "user", "answer"]


class LatentSetConfig(Config):
    """A set of latents, and by which rankings it is halved."""

    of: SetKind = "all"
    """all; by relative decoder norm chat-only, base-only or shared; confirmed: the chat-only ones whose absence from
    base survives latent scaling; top: the living ones of largest delta_norm, as many as `count` or `share` says."""
    count: int | None = Field(default=None, ge=1)
    """For top: how many latents."""
    share: float | None = Field(default=None, gt=0, le=1)
    """For top: which share of the living latents."""
    halves: list[Ranking] = Field(default=[])
    """Rankings whose best half (most chat's own) and worst half are put in apart, beside random halves."""

    @model_validator(mode="after")
    def _size_of_top(self) -> "LatentSetConfig":
        given = (self.count is not None) + (self.share is not None)
        if given != (self.of == "top"):
            raise ValueError('a set needs exactly one of count and share where of = "top", and neither elsewhere.')
        return self

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.of != "top":
            return self.of
        return f"top {self.count}" if self.count is not None else f"top {self.share:.0%}"


class PatchedKLConfig(Config):
    """What carries the difference between two snapshots? KL to the later one with parts of its activation put in."""

    base: str | None = None
    """The source before; without it the dictionary's first."""
    chat: str | None = None
    """The source after, whose predictions are the target; without it the last one at the same hook point."""
    tokens: int = Field(default=20_000, ge=1)
    """Predicted held-out tokens on which every patch is run, up to the end of the rows that hold them."""
    groups: list[Group] | None = None
    """Groups of predicted tokens reported on; by default all that the text has: all, each text source where there are
    several, and in conversations template, user and answer (whole, its first tokens, its rest)."""
    first_tokens: int = Field(default=9, ge=1)
    """Tokens at the start of an answer that are reported apart."""
    sets: list[LatentSetConfig] = Field(
        default=[
            LatentSetConfig(of="chat-only"),
            LatentSetConfig(of="confirmed"),
            LatentSetConfig(of="top", share=0.05, halves=["delta_norm", "nu"]),
        ]
    )
    """Sets of latents that are put in."""
    forms: list[Form] = Field(default=["replace", "add"])
    """replace: base's activation, the latents as chat writes them; add: chat's contributions on top of base's; revert:
    chat's activation, the latents as base writes them."""
    random_seeds: int = Field(default=5, ge=0)
    """Random halves of a set that is halved."""
    sweep: list[int] | None = None
    """Layers after which the patches that need no dictionary are run as well; every layer by default, [] for none."""
    only_margin: float = Field(default=0.1, gt=0, lt=0.5)
    """Chat-only where delta_norm > 1 - this, base-only where it is below this, shared within this of 0.5."""
    absent_error: float = Field(default=0.2, gt=0)
    """A chat-only latent is confirmed where nu_error in base is below this ..."""
    absent_reconstruction: float = Field(default=0.5, gt=0)
    """... and nu_reconstruction below this."""
    false_discoveries: float = Field(default=0.05, gt=0, lt=1)
    """Share of false discoveries allowed among the confirmed ones."""
    min_tokens: int = Field(default=10, ge=1)
    """Held-out tokens that a latent must fire on to be confirmed, or ranked by nu."""
    min_gap: float = Field(default=0.01, gt=0)
    """Nats that the clean snapshots must differ by for a share of the gap to be quoted."""
    draws: int = Field(default=500, ge=2)
    """Draws of documents for intervals."""
    model_batch: int = Field(default=8, ge=1)
    """Corpus rows in one forward pass."""
    seed: int = 0
    """Seed of random halves and of draws."""
