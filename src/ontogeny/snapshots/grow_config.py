"""What family of snapshots to grow. Torch-free."""

import itertools
from typing import Annotated

from pydantic import Field, model_validator

from ontogeny.config import Added, Config, Immaterial
from ontogeny.tokens.config import TextSourceConfig


class FamilyConfig(Config):
    """A small GPTNeoX model trained from nothing, with snapshots from the first step on. The defaults suit a demo."""

    sources: list[TextSourceConfig] = Field(default=[TextSourceConfig(kind="stdlib")], min_length=1)
    """Text to train on; planted rules bring their own vocabulary and stand alone."""
    vocab_size: int = Field(default=2048, ge=257)
    """Tokens of the byte-level BPE trained on the text (planted rules have as many as they have words)."""
    tokenizer_characters: int = Field(default=4_000_000, gt=0)
    """Characters of text that the tokenizer is trained on."""
    n_layers: int = Field(default=4, ge=1)
    """Transformer blocks."""
    d_model: int = Field(default=128, ge=8)
    """Width of the residual stream."""
    n_heads: int = Field(default=4, ge=1)
    """Attention heads."""
    context_length: int = Field(default=128, ge=8)
    """Tokens a training sequence, and most that the model can read."""
    steps: int = Field(default=512, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(default=12, ge=1)
    """Sequences a step."""
    max_tokens: int | None = Field(default=4_000_000, gt=0)
    """Most tokens of text kept; a longer training reads them again in a new order."""
    lr: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    warmup: int = Field(default=50, ge=0)
    """Steps of linear warm-up."""
    decay: float = Field(default=0.2, ge=0, le=1)
    """Fraction of the steps over which the learning rate falls linearly to zero, at the end."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's weight decay."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    snapshots: list[int] | None = None
    """Steps to save; by default 0, 1, 2, 4, … up to `linear_every`, then every `linear_every` steps, and the last,
    and those at which planted rules change."""
    per_octave: Annotated[int, Added] = Field(default=1, ge=1)
    """Snapshots a doubling of the step, below `linear_every`."""
    linear_every: int = Field(default=64, ge=1)
    """Steps between snapshots once doubling would be farther apart."""
    seed: int = 0
    """Seed of the weights and of the order of the text."""
    checkpoint_every: Annotated[int, Immaterial] = Field(default=100, ge=1)
    """Steps between the resume states."""
    device: Annotated[str, Immaterial] = "cpu"
    """torch device."""

    @model_validator(mode="after")
    def _consistent(self) -> "FamilyConfig":
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model = {self.d_model} must be a multiple of n_heads = {self.n_heads}")
        outside = [step for step in self.snapshots or [] if not 0 <= step <= self.steps]
        if outside:
            raise ValueError(f"snapshot {outside[0]} lies outside of the training, 0 … {self.steps}")
        if self.plants_rules and len(self.sources) > 1:
            raise ValueError("a source of kind 'rules' has its own vocabulary; grow from it alone")
        changes = self.sources[0].rules.changes.steps if self.plants_rules else ()
        if changes and changes[-1] >= self.steps:
            raise ValueError(f"the world changes at step {changes[-1]}, and the training ends at step {self.steps}")
        if self.plants_rules and self.sources[0].rules.stage is not None:
            raise ValueError("a family goes through all stages of its world; leave out 'stage'")
        return self

    @property
    def stage_steps(self) -> tuple[int, ...]:
        """The steps at which the stages of the text begin: 0, and where planted rules change."""
        return (0, *(self.sources[0].rules.changes.steps if self.plants_rules else ()))

    @property
    def plants_rules(self) -> bool:
        """The text is the planted language."""
        return any(source.kind == "rules" for source in self.sources)

    @property
    def snapshot_steps(self) -> list[int]:
        """Steps that are saved, ascending; the list is taken as it is, without a last step added."""
        if self.snapshots is not None:
            return sorted(set(self.snapshots))
        steps = {*self.stage_steps, self.steps}
        powers = (round(2 ** (number / self.per_octave)) for number in itertools.count())
        steps.update(itertools.takewhile(lambda power: power < min(self.linear_every, self.steps), powers))
        steps.update(range(self.linear_every, self.steps, self.linear_every))
        return sorted(steps)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step reads."""
        return self.batch_size * self.context_length
