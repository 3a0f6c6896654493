"""A record of steering as a Markdown page: prompt, texts, divergences, and monitored latents token by token."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ontogeny.interventions.steering.record import Divergence, Kind, SteeringRecord, TokenRecord
from ontogeny.interventions.steering.words import describe_intervention, keep_lines
from ontogeny.results.style import escape_controls


def save_markdown(record: SteeringRecord, file: Path | str, title: str = "") -> None:
    """Write `render_markdown` to a file."""
    Path(file).write_text(render_markdown(record, title), encoding="utf-8")


def render_markdown(record: SteeringRecord, title: str = "") -> str:
    """The page; all model text stands in code, so that none of it is taken for Markdown."""
    request, sampling = record.request, record.request.sampling
    drawn = "the likeliest token" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"
    if sampling.temperature > 0 and sampling.top_p < 1:
        drawn += f", top-p {sampling.top_p:g}"
    read = "all snapshots of the dictionary" if request.read is None else ", ".join(request.read)
    lines = [f"# Steering {request.snapshot}{f' with {title}' if title else ''}", ""]
    lines += [f"* {describe_intervention(each)}" for each in request.interventions] or ["* nothing is changed"]
    lines += [
        f"* drawn: {drawn}, at most {sampling.max_tokens} tokens, seed {sampling.seed}, samples: {sampling.samples}",
        f"* codes are read from {read}, untouched, on the tokens of each text",
        "",
        "## Prompt (a user's turn of the chat template)" if request.chat else "## Prompt",
        "",
        *_fenced(request.prompt),
    ]
    for sample in range(sampling.samples):
        lines += ["", f"## Sample {sample}" if sampling.samples > 1 else "## Texts"]
        for kind in record.kinds:
            ended = next(each.ended for each in record.texts if (each.kind, each.sample) == (kind, sample))
            lines += ["", f"### {kind.capitalize()} (ended by {ended})", "", *_fenced(record.text(kind, sample))]
    lines += _divergence_table(record.divergences())
    for kind in record.kinds:
        lines += _token_table(record, kind)
    lines += _evidence_tables(record)
    return "\n".join(lines) + "\n"


def _divergence_table(divergences: Sequence[Divergence]) -> list[str]:
    if not divergences:
        return []
    rows = [
        [
            f"{each.run} on {each.kind} text",
            _number(each.mean),
            _number(each.se),
            str(each.n_tokens),
            str(each.n_samples),
        ]
        for each in divergences
    ]
    heading = ["KL(untouched ‖ changed)", "mean (nats)", "standard error", "tokens", "samples"]
    return ["", "## How far from the untouched snapshot", "", *_table(heading, rows)]


def _token_table(record: SteeringRecord, kind: Kind) -> list[str]:
    """Every token of the first sample."""
    tokens = record.passage(kind)
    divergences = ["KL"] if kind != "baseline" else []
    divergences += ["KL of control"] if any(each.kl_control is not None for each in tokens) else []
    heading = ["position", "token", "p", *divergences, *(f"latent {latent}" for latent in record.monitored)]
    rows = []
    for each in tokens:
        numbers = [each.kl, each.kl_control][: len(divergences)]
        codes = ["" if code == 0 else _number(code) for code in each.codes or [0.0] * len(record.monitored)]
        where = f"{each.position}" if each.generated else f"{each.position} (prompt)"
        rows.append([where, _code(each), _number(each.probability), *map(_number, numbers), *codes])
    sample = " (sample 0)" if record.request.sampling.samples > 1 else ""
    return ["", f"## Tokens of the {kind} text{sample}", "", *_table(heading, rows)]


def _evidence_tables(record: SteeringRecord) -> list[str]:
    """What each snapshot alone says of every monitored latent, where it is on in the last kind of text steered."""
    kind: Kind = "steered" if "steered" in record.kinds else "baseline"
    lines: list[str] = []
    for place, latent in enumerate(record.monitored):
        on = [each for each in record.passage(kind) if each.codes and each.codes[place] > 0]
        if not on:
            continue
        rows = [
            [str(each.position), _code(each), _number(each.codes[place]), *map(_number, each.evidence[place])]
            for each in on
        ]
        lines += ["", f"## Latent {latent}: what each snapshot alone says, where it is on in the {kind} text", ""]
        lines += _table(["position", "token", "code", *record.sources_in], rows)
    return lines


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(heading), _row(["---"] * len(heading)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _code(token: TokenRecord) -> str:
    """A token in code: a fence longer than its own backticks, and no bar that would end a cell."""
    text = escape_controls(token.text).replace("|", "¦")
    fence = "`" * (_longest_run(text) + 1)
    return f"{fence} {text} {fence}" if "`" in text or text.strip() != text or not text else f"{fence}{text}{fence}"


def _fenced(text: str) -> list[str]:
    fence = "`" * max(3, _longest_run(text) + 1)
    return [f"{fence}text", keep_lines(text), fence]


def _longest_run(text: str) -> int:
    """The longest run of backticks."""
    longest, run = 0, 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
