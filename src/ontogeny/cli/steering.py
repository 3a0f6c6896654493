"""Commands that try things out on a snapshot: steer."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ontogeny.commands.options import PLACE, Place, open_console, open_workspace
from ontogeny.errors import ConfigError

if TYPE_CHECKING:
    from ontogeny.interventions.steering.config import SteeringRequest


@Parameter(name="*")
@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn."""

    max_tokens: int = 40
    """Most tokens generated."""
    samples: int = 1
    """Texts of each kind."""
    seed: int = 0
    """Seed of the draws; baseline and steered text share them, token by token."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    greedy: Annotated[bool, Parameter(negative=())] = False
    """The same as --temperature 0."""


def steer(
    reference: str,
    prompt: str,
    *,
    chat: Annotated[bool, Parameter(negative=())] = False,
    latent: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    interventions: Path | None = None,
    snapshot: str | None = None,
    on: Literal["prompt", "generated", "both"] = "both",
    at: str | None = None,
    monitor: str | None = None,
    read: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    control: Annotated[bool, Parameter(negative=())] = False,
    drawing: Drawing = Drawing(),
    out: Path | None = None,
    json: Path | None = None,
    save_interventions: Path | None = None,
    device: str = "auto",
    place: Place = PLACE,
) -> None:
    """Let a snapshot continue a prompt while its latents are changed, beside what it writes untouched.

    Parameters
    ----------
    reference
        Name of a recipe, or id of a dictionary.
    prompt
        The text to continue.
    chat
        Give the prompt as a user's turn of the chat template, which the snapshot answers.
    latent
        LATENT=STRENGTH: 12=+8 adds, 12=8 sets, 12=x0.5 scales, 12=off removes; 12=+2max in units of its largest code.
    interventions
        A JSON file of interventions, carried out before those of --latent.
    snapshot
        The snapshot to steer; the last one if absent.
    on
        On which tokens --latent acts: those of the prompt, generated ones, or both.
    at
        The one hook point at which --latent acts (resid_post.6); every one that the dictionary writes if absent.
    monitor
        Latents to watch: 1,2,10-14; those of the interventions if absent.
    read
        Snapshots that codes are read from; all of the dictionary's if absent.
    control
        Beside the steered text one with random directions of the same length.
    out
        Markdown file to write.
    json
        JSON file to write, with every token's numbers.
    save_interventions
        JSON file to write that --interventions reads.
    device
        Where the models run: auto, cpu, cuda, mps or xpu.
    """
    from ontogeny.commands.report import parse_latents
    from ontogeny.commands.steer import Destinations, parse_latent
    from ontogeny.commands.steer import steer as steer_and_print
    from ontogeny.interventions.steering.config import load_interventions
    from ontogeny.pipeline.steering import open_steerer

    if at is not None and not latent:
        raise ConfigError(f"--at {at} says where --latent acts: give a --latent, or a hook_point in --interventions.")
    given = [] if interventions is None else load_interventions(interventions)
    given += [parse_latent(words, on, at) for words in latent]
    sampling = _sampling(drawing)
    steerer = open_steerer(open_workspace(place), reference, device)
    told = {
        "prompt": prompt,
        "chat": chat,
        "snapshot": steerer.written[-1] if snapshot is None else snapshot,
        "interventions": given,
        "monitor": parse_latents(monitor, "--monitor"),
        "read": list(read) or None,
        "control": control,
        "sampling": sampling,
    }
    steer_and_print(steerer, _request(told), reference, Destinations(out, json, save_interventions), open_console())


def _request(told: dict[str, Any]) -> "SteeringRequest":
    """What was told, checked; ConfigError in one line."""
    from pydantic import ValidationError

    from ontogeny.config import config_error
    from ontogeny.interventions.steering.config import SteeringRequest

    try:
        return SteeringRequest.model_validate(told)
    except ValidationError as error:
        raise config_error(error, SteeringRequest, "steer") from error


def _sampling(drawing: Drawing) -> dict[str, Any]:
    """How words are drawn, as the request has it."""
    if drawing.greedy and drawing.temperature not in (0, 1):
        raise ConfigError(f"--greedy and --temperature {drawing.temperature:g} contradict each other; give one.")
    return {
        "max_tokens": drawing.max_tokens,
        "samples": drawing.samples,
        "seed": drawing.seed,
        "temperature": 0 if drawing.greedy else drawing.temperature,
        "top_p": drawing.top_p,
    }
