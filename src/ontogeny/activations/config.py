"""How activations are harvested and kept. Torch-free."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ontogeny.config import Added, Config, Immaterial
from ontogeny.types import HookPoint

StoredDtype = Literal["bfloat16", "float32", "int8"]


class ActivationsConfig(Config):
    """The `[activations]` section: where in the models, how stored, what is masked."""

    hook_points: list[str] = Field(min_length=1)
    """Places in the model, each SITE.LAYER or `embed`, for example ["resid_post.6"]; all are read in one pass."""

    store: Literal["sharded", "memory", "live"] = "sharded"
    """Where activations live: on disk, in memory, or harvested while training with a bounded ring on disk."""

    dtype: StoredDtype = "bfloat16"
    """Number format on disk; int8 is centred and scaled per source and channel of each shard."""

    tokens_per_shard: int = Field(default=32768, ge=1)
    """Tokens in a shard, rounded down to whole rows of the corpus; the unit of writing and of resuming."""

    pool_shards: int = Field(default=2, ge=1)
    """Shards that are mixed in memory at a time while reading; more mix better and take more memory."""

    high_norm_multiple: float | None = Field(default=10.0, gt=1)
    """A row is high-norm when its norm exceeds this multiple of its source's median; unset: none is."""

    drop_high_norm: bool = False
    """Leave rows that are high-norm in any source out of training; they stay on disk and are counted either way."""

    difference: Annotated[list[str] | None, Added] = Field(default=None, min_length=2, max_length=2)
    """Two snapshots' labels, for example ["base", "chat"]: what is learned is the second's activations less the
    first's, a stream of one source a hook point; nothing more is stored."""

    seed: int = Field(default=0, ge=0)
    """Seed of the written order of tokens."""

    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the forward pass; auto is float32 on CPU and bfloat16 on accelerators."""

    model_batch: Annotated[int, Immaterial] = Field(default=32, ge=1)
    """Corpus rows in one forward pass."""

    disk_budget_gb: Annotated[float, Immaterial] = Field(default=50.0, gt=0)
    """Gigabytes (1e9 bytes) that the ring of the live store may take."""

    resident_models: Annotated[int | None, Immaterial] = Field(default=None, ge=1)
    """Models that the live store keeps in memory, loading the others in turn; unset: as many as half of it holds."""

    device: Annotated[str, Immaterial] = "cpu"
    """Device of the forward pass."""

    @field_validator("hook_points")
    @classmethod
    def _parse(cls, values: list[str]) -> list[str]:
        canonical = [str(HookPoint.parse(value)) for value in values]
        twice = sorted({value for value in canonical if canonical.count(value) > 1})
        if twice:
            raise ValueError(f"hook point {twice[0]} is given twice")
        return canonical

    @model_validator(mode="after")
    def _stored(self) -> "ActivationsConfig":
        if self.difference is not None and self.store == "live":
            raise ValueError("difference needs stored activations; set store to 'sharded' or 'memory'")
        if self.difference is not None and self.difference[0] == self.difference[1]:
            raise ValueError(f"difference names {self.difference[0]!r} twice; name two snapshots")
        return self


def compute_dtype_of(config: ActivationsConfig) -> Literal["float32", "bfloat16"]:
    """The forward pass's number format: as configured, else float32 on CPU and bfloat16 elsewhere."""
    if config.compute_dtype != "auto":
        return config.compute_dtype
    return "float32" if config.device.startswith("cpu") else "bfloat16"


def source_identity(config: ActivationsConfig, hook_point: str) -> dict[str, Any]:
    """What of the config decides the bytes of ONE source's activations (the workspace's id of that artifact).

    Other hook points, masking, pooling and the store's kind are left out: they change no byte, so changing them
    re-harvests nothing.
    """
    return {
        "hook_point": hook_point,
        "dtype": config.dtype,
        "compute_dtype": compute_dtype_of(config),
        "tokens_per_shard": config.tokens_per_shard,
        "seed": config.seed,
    }
