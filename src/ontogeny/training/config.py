"""How a dictionary is trained and where its numbers are sent; torch-free."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ontogeny.config import Added, Config, Immaterial
from ontogeny.schedules import DecayShape, span_in_steps

Span = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0.0, le=1.0)]

DEAD_WINDOW_TOKENS = 10_000_000


class TrainingConfig(Config):
    """Length, batches, learning rate, schedules, checkpoints. A span is steps (int) or a share of the run (float)."""

    steps: int | None = Field(default=None, ge=1)
    """Training steps (optimizer updates); give this or `tokens`."""
    tokens: int | None = Field(default=None, ge=1)
    """Training length in tokens, rounded up to whole batches; give this or `steps`."""
    batch_size: int = Field(default=2048, ge=1)
    """Tokens in a batch."""
    lr: float = Field(default=1e-3, gt=0.0)
    """Learning rate of Adam at its plateau."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moments."""
    eps: float = Field(default=1e-8, gt=0.0)
    """Adam's epsilon."""
    threshold_lr_factor: float = Field(default=1.0, gt=0.0)
    """The thresholds' learning rate as a multiple of `lr` (JumpReLU)."""
    warmup: Span = 0.05
    """Linear warm-up of the learning rate: steps, or a share of the run."""
    decay: Span = 0.2
    """The last part of the run, over which the learning rate falls: steps, or a share of the run."""
    decay_shape: DecayShape = "linear"
    """How the learning rate falls."""
    final_lr: float = Field(default=0.0, ge=0.0, le=1.0)
    """The learning rate that the decay heads for, as a share of `lr`."""
    sparsity_warmup: Span = 0.1
    """Linear warm-up of the sparsity coefficient: steps, or a share of the run."""
    initial_k: int | None = Field(default=None, ge=1)
    """k of the first step, annealed to the dictionary's own k over `k_anneal`; none means its own k throughout."""
    k_anneal: Span = 0.1
    """How long k takes from `initial_k` to its own value: steps, or a share of the run."""
    clip: float | None = Field(default=1.0, gt=0.0)
    """Largest norm of the whole gradient; longer ones are scaled down. None: no clipping."""
    dead_window: int | None = Field(default=None, ge=1)
    """A latent silent for this many tokens is dead in training; default min(10 M, a tenth of the run)."""
    initial_rows: int = Field(default=4096, ge=1)
    """Tokens from which the dictionary is initialised (decoder bias, norm search), rounded up to whole batches."""
    autocast: bool = True
    """bfloat16 matmuls over float32 master weights wherever the device is no CPU."""
    seed: int = 0
    """Seed of the initialisation and of the order of batches."""
    shuffle_snapshots: Annotated[bool, Added] = False
    """A null control: every token's snapshots in a random order of its own, so that no time is left to be learned."""
    checkpoint_every: Annotated[int, Immaterial] = Field(default=500, ge=1)
    """Steps between checkpoints."""
    keep_last: Annotated[int, Immaterial] = Field(default=1, ge=1)
    """Newest checkpoints that are kept."""
    log_every: Annotated[int, Immaterial] = Field(default=10, ge=1)
    """Steps between lines of metrics."""

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingConfig":
        if (self.steps is None) == (self.tokens is None):
            raise ValueError("give the length of training as either `steps` or `tokens`, not both and not neither")
        return self

    @property
    def total_steps(self) -> int:
        """Optimizer updates of the whole run."""
        if self.steps is not None:
            return self.steps
        assert self.tokens is not None, "the validator demands steps or tokens"
        return -(-self.tokens // self.batch_size)

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.total_steps * self.batch_size

    @property
    def dead_after_tokens(self) -> int:
        """The window of tokens in which a live latent has fired; a short run has a window of a tenth of itself."""
        return self.dead_window or min(DEAD_WINDOW_TOKENS, max(self.total_tokens // 10, 1))

    def steps_of(self, span: Span) -> int:
        """A span of this config in steps."""
        return span_in_steps(span, self.total_steps)


class TrackingConfig(Config):
    """Where training metrics go beside the JSONL that is always written. Nothing here changes a result."""

    backend: Annotated[Literal["none", "wandb", "trackio"], Immaterial] = "none"
    """The experiment tracker; `wandb` and `trackio` need the extra of the same name."""
    project: Annotated[str, Immaterial] = "ontogeny"
    """Project in the tracker."""
    entity: Annotated[str | None, Immaterial] = None
    """Team or user in wandb; the space in trackio."""
    group: Annotated[str | None, Immaterial] = None
    """Group of runs."""
    tags: Annotated[tuple[str, ...], Immaterial] = ()
    """Tags of the run; in trackio, which has none, a key of its config."""
    mode: Annotated[Literal["online", "offline", "disabled"], Immaterial] = "online"
    """wandb's mode: offline keeps the run in the artifact's folder until `wandb sync`."""
