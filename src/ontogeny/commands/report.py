"""The report of a dictionary's results, as one HTML file."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ontogeny.errors import ConfigError
from ontogeny.results.gathering import gather_results
from ontogeny.results.report import save_report
from ontogeny.workspace import Workspace


def write_report(
    workspace: Workspace,
    reference: str,
    path: Path | None,
    latents: str | None,
    top: int | None,
    by: str | None,
    lowest: bool,
    console: Console,
) -> None:
    """Write the page and say where it is."""
    from ontogeny.commands.listing import format_bytes

    if top is not None and top < 1:
        raise ConfigError(f"--top {top}: show at least 1 latent.")
    gathered = gather_results(workspace, reference)
    file = path or Path(f"report-{gathered.dictionary.id}.html")
    file = file / f"report-{gathered.dictionary.id}.html" if file.is_dir() else file
    chosen = save_report(gathered, file, parse_latents(latents), top, by, lowest)
    size = format_bytes(file.stat().st_size)
    kinds = ", ".join(gathered.results)
    console.print(f"{file}: {len(chosen)} latents, {kinds}; {size}", highlight=False, markup=False, soft_wrap=True)


def parse_latents(text: str | None, option: str = "--latents") -> Sequence[int]:
    """`1,2,10-14` as numbers; ConfigError names what is none."""
    found: list[int] = []
    for part in (text or "").replace(" ", "").split(","):
        span = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if span is None:
            if text is None:
                continue
            raise ConfigError(f"{option} {part!r}: give numbers and spans, for example 1,2,10-14.")
        found += range(int(span[1]), int(span[2] or span[1]) + 1)
    return found
