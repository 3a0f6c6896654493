"""Windows of text on a card: chosen from top to bottom of a latent's range, and packed for the page."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ontogeny.results.style import escape_controls, round_number

MOST_WINDOWS = {"top": 12, "bin": 4, "level": 3, "control": 4}  # of each bin and level
MOST_OTHERS = 4


@dataclass(frozen=True)
class Window:
    """A row of the table of examples, and its rows per source by the source's name."""

    row: Mapping[str, Any]
    by_source: Mapping[str, Mapping[str, Any]]


def pack_windows(windows: Sequence[Window], sources: Sequence[str]) -> list[dict[str, Any]]:
    """JSON-able windows, the strongest kinds first, of each kind and bin by rank.

    `values` are codes [token]. `gate` holds bits and `evidence` signed bytes, both [source token] in base64, the bytes
    in units of `unit`: to a hundredth of the window's largest evidence, which is as far as colours can be told apart.
    """
    kinds = list(dict.fromkeys([*MOST_WINDOWS, *(window.row["kind"] for window in windows)]))
    known = sorted(
        windows, key=lambda window: (kinds.index(window.row["kind"]), -(window.row.get("bin") or 0), _rank(window))
    )
    taken: dict[tuple[str, int | None], int] = {}
    packed = []
    for window in known:
        place = (window.row["kind"], window.row.get("bin"))
        taken[place] = taken.get(place, 0) + 1
        if taken[place] <= MOST_WINDOWS.get(window.row["kind"], MOST_OTHERS):
            packed.append(_pack(window, sources))
    return packed


def _rank(window: Window) -> int:
    return int(window.row.get("rank") or 0)


def _pack(window: Window, sources: Sequence[str]) -> dict[str, Any]:
    row = window.row
    tokens = [escape_controls(str(token)) for token in row["tokens"]]
    packed: dict[str, Any] = {
        "kind": row["kind"],
        "bin": row.get("bin"),
        "document": row.get("document"),
        "row": row["row"],
        "position": row["position"],
        "value": round_number(row.get("value")),
        "at": row.get("at"),
        "tokens": tokens,
        "values": [round_number(value or 0.0, 3) for value in row["values"]],
    }
    if window.by_source:
        gate = np.zeros((len(sources), len(tokens)), dtype=bool)
        evidence = np.zeros((len(sources), len(tokens)))
        for index, source in enumerate(sources):
            here = window.by_source.get(source, {})
            gate[index, : len(here.get("gate") or ())] = here.get("gate") or ()
            evidence[index, : len(here.get("evidence") or ())] = [each or 0.0 for each in here.get("evidence") or ()]
        largest = float(np.abs(evidence).max(initial=0.0))
        unit = largest / 127 if largest > 0 else 1.0
        packed |= {
            "gate": base64.b64encode(np.packbits(gate.ravel()).tobytes()).decode(),
            "evidence": base64.b64encode(np.rint(evidence / unit).astype(np.int8).tobytes()).decode(),
            "unit": round_number(unit, 6),
        }
    return packed
