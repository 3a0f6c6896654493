"""What is asked of a steered snapshot: what is done where, and how tokens are drawn. Torch-free, kept as JSON."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ontogeny.config import Config, config_error
from ontogeny.errors import ConfigError

Finite = Annotated[float, Field(allow_inf_nan=False)]
Latent = Annotated[int, Field(ge=0)]
Some = Annotated[list[Latent], Field(min_length=1)]
Unit = Literal["code", "max"]


class Intervention(Config):
    """What all interventions but `lower_half` share: where they act."""

    on: Literal["prompt", "generated", "both"] = "both"
    """At tokens of the prompt, at tokens that were generated, or at both. A token acts on those after it."""
    hook_point: str | None = None
    """At this hook point alone; by default at every one where the dictionary has a source of the snapshot."""


class AddIntervention(Intervention):
    """Every code raised by as much, whether the latent is on or not."""

    kind: Literal["add"] = "add"
    latents: Some
    """Which latents."""
    strength: Finite
    """How much; below 0 it is taken away."""
    unit: Unit = "code"
    """Of the code itself, or of the largest code that the latent had on held-out text."""


class SetIntervention(Intervention):
    """Every code set to one value on every token."""

    kind: Literal["set"] = "set"
    latents: Some
    """Which latents."""
    strength: Finite
    """The value."""
    unit: Unit = "code"
    """Of the code itself, or of the largest code that the latent had on held-out text."""


class ScaleIntervention(Intervention):
    """Contributions multiplied, where there are any: 1 leaves them, 0 removes them, -1 turns them round."""

    kind: Literal["scale"] = "scale"
    latents: Some | None = None
    """Which latents; all by default."""
    factor: Finite
    """By what."""


class RemoveIntervention(Intervention):
    """Contributions taken away."""

    kind: Literal["remove"] = "remove"
    latents: Some | None = None
    """Which latents; all by default."""


class ReplaceLatentsIntervention(Intervention):
    """Contributions written as another snapshot writes them."""

    kind: Literal["replace_latents"] = "replace_latents"
    by: str
    """The other snapshot."""
    latents: Some | None = None
    """Which latents; all by default."""


class ReplaceReconstructionIntervention(Intervention):
    """What the dictionary explains taken from another snapshot; the error stays."""

    kind: Literal["replace_reconstruction"] = "replace_reconstruction"
    by: str
    """The other snapshot."""


class ReplaceErrorIntervention(Intervention):
    """What the dictionary leaves unexplained taken from another snapshot; the reconstruction stays."""

    kind: Literal["replace_error"] = "replace_error"
    by: str
    """The other snapshot."""


class LowerHalfIntervention(Config):
    """The blocks before `layer` of another snapshot, the blocks from `layer` on of the steered one, on all tokens."""

    kind: Literal["lower_half"] = "lower_half"
    snapshot: str
    """The snapshot whose lower blocks run."""
    layer: int = Field(ge=1)
    """The first block of the upper half."""


AnyIntervention = Annotated[
    AddIntervention
    | SetIntervention
    | ScaleIntervention
    | RemoveIntervention
    | ReplaceLatentsIntervention
    | ReplaceReconstructionIntervention
    | ReplaceErrorIntervention
    | LowerHalfIntervention,
    Field(discriminator="kind"),
]


class InterventionList(Config):
    """Interventions as a file: `{"version": 1, "interventions": [{"kind": "add", "latents": [12], "strength": 8}]}`."""

    version: Literal[1] = 1
    """Of the format."""
    interventions: list[AnyIntervention]
    """In order; where several act at one place each gets what the one before made."""


class SamplingConfig(Config):
    """How the next token is drawn. Texts of the same seed and sample draw alike, token by token."""

    temperature: Finite = Field(default=1.0, ge=0)
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest tokens that together have this probability."""
    max_tokens: int = Field(default=40, ge=1)
    """Most tokens generated; an end-of-text token or a full context end a text before."""
    samples: int = Field(default=1, ge=1)
    """Texts of each kind."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws, and of the random directions of the control."""


class SteeringRequest(Config):
    """One question: a prompt, a snapshot, what is done to it, and what is looked at meanwhile."""

    prompt: str
    """The text that is continued."""
    chat: bool = False
    """The prompt is a user's turn of the chat template, and what is generated answers it."""
    snapshot: str
    """The snapshot that is steered."""
    interventions: list[AnyIntervention] = Field(default=[])
    """In order; without any there is the baseline alone."""
    monitor: list[Latent] = Field(default=[])
    """Latents whose codes are written down on every token; by default those of the interventions."""
    read: list[str] | None = None
    """Snapshots that the codes are read from; by default all that the dictionary reads."""
    control: bool = False
    """Beside the steered text one with random directions, as long at every token as what steering adds there."""
    sampling: SamplingConfig = SamplingConfig()
    """How the next token is drawn."""

    @property
    def monitored(self) -> list[int]:
        """Latents whose codes are written down."""
        named = [getattr(each, "latents", None) or [] for each in self.interventions]
        return list(dict.fromkeys(self.monitor or [latent for latents in named for latent in latents]))


def load_interventions(file: Path) -> list[AnyIntervention]:
    """The interventions of a JSON file; ConfigError says what is wrong with it."""
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; give a JSON file of interventions.")
    try:
        return InterventionList.model_validate_json(file.read_bytes()).interventions
    except ValidationError as error:
        raise config_error(error, InterventionList, str(file)) from error


def save_interventions(file: Path, interventions: list[Any]) -> None:
    """Write a JSON file that `load_interventions` reads."""
    text = InterventionList(interventions=interventions).model_dump_json(indent=1, exclude_none=True)
    file.write_text(text + "\n", encoding="utf-8")
