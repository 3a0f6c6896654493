"""The answers of `truth.py` as lines of the common table, and as tables of their own."""

import statistics
from collections.abc import Sequence
from typing import Any, Literal

from benchmarks.timing import Line, Ratio

Direction = Literal["at_least", "at_most"]
GOALS = {"recall": 0.8, "spearman": 0.8, "claims on never-trained rules": 0}


def make_lines(answers: Sequence[dict[str, Any]]) -> list[Line]:
    """One line a contender and measure; the crosscoder's are held to the goals."""
    seeds = ", ".join(str(each["seed"]) for each in answers)
    lines = []
    for name, first in answers[0]["measures"].items():
        for key in first:
            values = [each["measures"][name][key] for each in answers]
            goal = GOALS.get(key) if name == "crosscoder" else None
            ratio = _spread(values)
            reason = "" if ratio else "nothing to date or to tell apart"
            direction: Direction = "at_most" if key.startswith("claims") else "at_least"
            lines.append(Line("truth", name, f"{key}, seeds {seeds}", ratio, None, goal, direction, reason))
    for key in answers[0]["ceiling"]:
        ratio = _spread([each["ceiling"][key] for each in answers])
        lines.append(Line("truth", "ceiling of the grid of snapshots", key, ratio))
    return lines


def _spread(values: Sequence[float | None]) -> Ratio | None:
    """Median and range of the numbers that there are."""
    known = [value for value in values if value is not None]
    return Ratio(statistics.median(known), min(known), max(known)) if known else None


def format_answers(answers: Sequence[dict[str, Any]]) -> str:
    """One table a seed: a column a contender and the ceiling beside it; then the crosscoder's rules."""
    parts = []
    for each in answers:
        names = [*each["measures"], "ceiling"]
        keys = list(each["measures"]["crosscoder"])
        table = {**each["measures"], "ceiling": each["ceiling"]}
        rows = [["", *names]] + [[key, *(_show(table[name].get(key)) for name in names)] for key in keys]
        rules = [list(each["rules"]["crosscoder"][0])]
        rules += [[_show(value) for value in row.values()] for row in each["rules"]["crosscoder"]]
        parts.append(f"seed {each['seed']}: {each['learned']} rules learned\n{_align(rows)}\n\n{_align(rules)}\n")
    return "\n".join(parts)


def _show(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value == round(value) else f"{value:.2f}"
    return "" if value is None else str(value)


def _align(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
