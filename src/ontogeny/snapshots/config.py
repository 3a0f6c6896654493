"""Which snapshots a series is made of, as a recipe states it."""

from typing import Literal

from pydantic import Field, model_validator

from ontogeny.config import Config


class StepRange(Config):
    """Steps chosen by spacing; each wished step is moved to the nearest one that exists."""

    first: int = Field(default=0, ge=0)
    """First step of the range, in optimizer steps."""
    last: int | None = Field(default=None, ge=0)
    """Last step of the range, in optimizer steps; the latest that exists if absent."""
    count: int = Field(ge=2)
    """How many snapshots to take, both ends counted; fewer come out when the same one is nearest twice."""
    spacing: Literal["log", "linear"] = "log"
    """`log`: even in log2(1 + step). `linear`: even in steps."""

    @model_validator(mode="after")
    def _ordered(self) -> "StepRange":
        if self.last is not None and self.last <= self.first:
            raise ValueError(f"last = {self.last} must be larger than first = {self.first}")
        return self


class SeriesConfig(Config):
    """The snapshots that one dictionary is learned over: one of `model`, `folders`, or `base` with `chat`.

    `model` alone is a series of one snapshot. `steps` and `range` choose among the revisions of `model`, or among the
    folders that `folders` matches.
    """

    model: str | None = None
    """Hub id (`EleutherAI/pythia-160m`) or local folder of the model."""
    revisions: tuple[str, ...] | None = None
    """Branches, tags or commits of `model`, in the order of training."""
    folders: str | None = None
    """Glob of local snapshot folders (`runs/mine/step*`), taken in natural order."""
    base: str | None = None
    """Hub id or folder of the base model of a base/chat pair; `id@revision` pins a revision."""
    chat: str | None = None
    """Hub id or folder of the chat model of a base/chat pair; `id@revision` pins a revision."""
    steps: tuple[int, ...] | None = None
    """Optimizer steps to take, in the order of training."""
    range: StepRange | None = None
    """Optimizer steps to take, by spacing."""
    revision_format: str = "step{step}"
    """Name of the revision that holds a step; `*` stands for what is looked up (`step{step}-tokens*`)."""
    tokenizer: str | None = None
    """Hub id or folder of the tokenizer, where it isn't the snapshots' own; `id@revision` pins a revision."""
    tokens_per_step: int | None = Field(default=None, gt=0)
    """Tokens of one optimizer step; with it time is counted in tokens, without it in log2(1 + step)."""
    allow_pickled_weights: bool = False
    """Read `pytorch_model.bin` (through the restricted unpickler) where a snapshot has no safetensors."""

    @model_validator(mode="after")
    def _one_kind(self) -> "SeriesConfig":
        if (self.base is None) != (self.chat is None):
            raise ValueError("base and chat go together; give both")
        given = [name for name in ("model", "folders", "base") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"give exactly one of model, folders, or base with chat (found {found})")
        chosen = [name for name in ("revisions", "steps", "range") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"give one of revisions, steps and range, not {' and '.join(chosen)}")
        if self.base is not None and chosen:
            raise ValueError(f"{chosen[0]} needs model or folders; pin base or chat as id@revision")
        if self.folders is not None and self.revisions is not None:
            raise ValueError("revisions belong to a hub model; folders are chosen by steps or range")
        return self

    @model_validator(mode="after")
    def _lists(self) -> "SeriesConfig":
        for name in ("revisions", "steps"):
            values = getattr(self, name)
            if values is None:
                continue
            if not values:
                raise ValueError(f"{name} is empty; name at least one")
            repeated = sorted({str(value) for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(f"{name} names {', '.join(repeated)} more than once")
        if "{step}" not in self.revision_format or set("{}") & set(self.revision_format.replace("{step}", "")):
            raise ValueError(
                f"revision_format {self.revision_format!r} must contain {{step}} and no other braces; * stands for the "
                "rest of a name"
            )
        return self
