"""Interventions in words, and model text that is safe to print."""

from ontogeny.interventions.steering.config import (
    AddIntervention,
    AnyIntervention,
    LowerHalfIntervention,
    RemoveIntervention,
    ReplaceErrorIntervention,
    ReplaceLatentsIntervention,
    ReplaceReconstructionIntervention,
    ScaleIntervention,
    SetIntervention,
)
from ontogeny.results.style import escape_controls


def describe_intervention(intervention: AnyIntervention) -> str:
    """One intervention as a phrase: what is done, and on which tokens."""
    if isinstance(intervention, LowerHalfIntervention):
        return f"blocks before {intervention.layer} of {intervention.snapshot}, on all tokens"
    where = "on the prompt and what is generated" if intervention.on == "both" else f"on {intervention.on} tokens"
    at = f" at {intervention.hook_point}" if intervention.hook_point is not None else ""
    return f"{_deed(intervention)}{at}, {where}"


def _deed(intervention: AnyIntervention) -> str:
    match intervention:
        case AddIntervention():
            return f"{_named(intervention.latents)}: {intervention.strength:+g}{_unit(intervention)}"
        case SetIntervention():
            return f"{_named(intervention.latents)}: set to {intervention.strength:g}{_unit(intervention)}"
        case ScaleIntervention():
            return f"{_named(intervention.latents)}: × {intervention.factor:g}"
        case RemoveIntervention():
            return f"{_named(intervention.latents)}: removed"
        case ReplaceLatentsIntervention():
            return f"{_named(intervention.latents)}: as {intervention.by} writes them"
        case ReplaceReconstructionIntervention():
            return f"reconstruction of {intervention.by}"
        case ReplaceErrorIntervention():
            return f"error of {intervention.by}"
    raise AssertionError(f"unknown intervention {intervention!r}")


def _unit(intervention: AddIntervention | SetIntervention) -> str:
    if intervention.unit == "code":
        return ""
    return " × its largest code" if len(intervention.latents) == 1 else " × their largest codes"


def _named(latents: list[int] | None) -> str:
    if latents is None:
        return "all latents"
    return f"latent{'s' if len(latents) > 1 else ''} {', '.join(map(str, latents))}"


def keep_lines(text: str) -> str:
    """Model text with its line breaks and, of other control characters, what they are called."""
    return "\n".join(escape_controls(line) for line in text.split("\n"))
