"""Steering from the command line: strengths as words, texts with their latents in colour, files."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from ontogeny.commands.listing import print_rows
from ontogeny.errors import ConfigError
from ontogeny.interventions.steering.config import (
    AddIntervention,
    AnyIntervention,
    RemoveIntervention,
    ScaleIntervention,
    SetIntervention,
    SteeringRequest,
    save_interventions,
)
from ontogeny.interventions.steering.markdown import save_markdown
from ontogeny.interventions.steering.record import Divergence, Kind, SteeringRecord, TextRecord, TokenRecord
from ontogeny.interventions.steering.steerer import Steerer
from ontogeny.interventions.steering.words import describe_intervention, keep_lines
from ontogeny.progress import Reporter

COLOURS = ("bold green", "bold magenta", "bold cyan", "bold yellow", "bold blue", "bold red")
"""Of the monitored latents, in turn."""
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
"""A number without a sign, as a pattern."""


@dataclass(frozen=True)
class Destinations:
    """Files that are written, where they are asked for."""

    markdown: Path | None = None
    json: Path | None = None
    interventions: Path | None = None


def parse_latent(
    words: str, on: Literal["prompt", "generated", "both"], hook_point: str | None = None
) -> AnyIntervention:
    """`12=+8` adds 8, `12=8` sets, `12=x0.5` scales, `12=off` removes; `+2max` is twice the latent's largest code."""
    match = re.fullmatch(
        rf"(\d+)=(?:(off)|x(?P<factor>[+-]?{NUMBER})|(?P<sign>[+-]?)(?P<number>{NUMBER})(?P<max>max)?)", words
    )
    if match is None:
        raise _wrong_latent(words)
    latents = [int(match[1])]
    if match[2]:
        return RemoveIntervention(latents=latents, on=on, hook_point=hook_point)
    value = float(match["factor"] or match["number"])
    if not math.isfinite(value):
        raise _wrong_latent(words)
    if match["factor"]:
        return ScaleIntervention(latents=latents, factor=value, on=on, hook_point=hook_point)
    unit: Literal["code", "max"] = "max" if match["max"] else "code"
    if match["sign"]:
        strength = -value if match["sign"] == "-" else value
        return AddIntervention(latents=latents, strength=strength, unit=unit, on=on, hook_point=hook_point)
    return SetIntervention(latents=latents, strength=value, unit=unit, on=on, hook_point=hook_point)


def _wrong_latent(words: str) -> ConfigError:
    return ConfigError(
        f"--latent {words!r}: give LATENT=STRENGTH, for example 12=+8 (add), 12=-2max (take twice its largest code "
        "away), 12=8 (set), 12=x0.5 (scale) or 12=off (remove)."
    )


def steer(steerer: Steerer, request: SteeringRequest, title: str, files: Destinations, console: Console) -> None:
    """Generate, print, write; an interruption ends the texts where they are."""
    for file in (files.markdown, files.json, files.interventions):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"{file}: there is no folder {file.parent}; make it, or write elsewhere.")
    reporter = Reporter()
    record = steerer.gather(request, collect(steerer, request, reporter))
    print_record(record, console)
    if files.markdown is not None:
        save_markdown(record, files.markdown, f"dictionary {title}")
    if files.json is not None:
        record.save(files.json)
    if files.interventions is not None:
        save_interventions(files.interventions, list(request.interventions))
    written = [str(file) for file in (files.markdown, files.json, files.interventions) if file is not None]
    if written:
        console.print(f"written to {', '.join(written)}", highlight=False, markup=False, soft_wrap=True)


def collect(steerer: Steerer, request: SteeringRequest, reporter: Reporter) -> list[TokenRecord | TextRecord]:
    """What the texts are made of, as far as nobody interrupts."""
    found: list[TokenRecord | TextRecord] = []
    with reporter.measure("steering", request.sampling.max_tokens) as advance:
        try:
            done = 0
            for each in steerer.iter_tokens(request):
                found.append(each)
                if isinstance(each, TokenRecord) and each.generated and (each.kind, each.sample) == ("baseline", 0):
                    done += 1
                    advance(done, "")
        except KeyboardInterrupt:
            if not found:
                raise
            reporter.warn("interrupted; this is how far it came.")
    return found


# ---- printing --------------------------------------------------------------------------------------------------------


def print_record(record: SteeringRecord, console: Console) -> None:
    """What was done, every text with the tokens marked where a monitored latent is on, and the numbers."""
    request = record.request
    for each in request.interventions:
        console.print(f"{request.snapshot}  {describe_intervention(each)}", highlight=False, markup=False)
    for sample in range(request.sampling.samples):
        if request.sampling.samples > 1:
            console.print(f"\nsample {sample}", style="bold", highlight=False)
        for kind in record.kinds:
            console.print()
            console.print(Text.assemble((f"{kind:<9} ", "bold"), _marked(record.passage(kind, sample), console)))
    if record.monitored:
        console.print()
        console.print(_legend(record, console))
        print_rows(
            "monitored latents: on how many generated tokens, and their mean code there; largest code on held-out text",
            _latent_rows(record),
            console,
        )
    rows = [_divergence_row(each) for each in record.divergences()]
    print_rows("KL(untouched ‖ changed) on generated tokens, nats", rows, console)


def _marked(tokens: Sequence[TokenRecord], console: Console) -> Text:
    """The prompt dim, what was generated plain; tokens with a monitored latent in its colour, in «» without colours."""
    text = Text()
    for each in tokens:
        words = keep_lines(each.text)
        strongest = max(range(len(each.codes)), key=lambda place: each.codes[place], default=None)
        if strongest is not None and each.codes[strongest] > 0:
            shown = words if console.color_system else f"«{words}»"
            text.append(shown, style=COLOURS[strongest % len(COLOURS)])
        else:
            text.append(words, style="" if each.generated else "dim")
    return text


def _legend(record: SteeringRecord, console: Console) -> Text:
    legend = Text("marked: ")
    if not console.color_system:
        return legend.append("tokens on which a monitored latent is on, in «»")
    for place, latent in enumerate(record.monitored):
        legend.append(f"{latent} ", style=COLOURS[place % len(COLOURS)])
    return legend


def _latent_rows(record: SteeringRecord) -> list[dict[str, Any]]:
    """Per latent and kind of text: on how many generated tokens it is on, and how strongly."""
    rows = []
    for place, latent in enumerate(record.monitored):
        row: dict[str, Any] = {"latent": latent, "largest": record.largest[place]}
        for kind in record.kinds:
            seen = [each.codes[place] for each in record.tokens if each.kind == kind and each.generated and each.codes]
            on = [code for code in seen if code > 0]
            row[f"{kind}: on"] = f"{len(on)} of {len(seen)}" + (f", mean {sum(on) / len(on):.3g}" if on else "")
        rows.append(row)
    return rows


def _divergence_row(divergence: Divergence) -> dict[str, Any]:
    names: dict[Kind, str] = {"steered": "the change", "control": "random directions as long"}
    return {
        "of": names[divergence.run],
        "on the text": divergence.kind,
        "mean": divergence.mean,
        "standard error": divergence.se,
        "tokens": divergence.n_tokens,
        "samples": divergence.n_samples,
    }
