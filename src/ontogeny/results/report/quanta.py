"""The pages of quanta: their tokens in context, loss curves, neighbours, history and latents, small enough to send.

Words are kept once for the whole page and named by number, since a quantum's contexts repeat the common ones; losses of
single tokens are bytes, as fine as a curve of the size of a word can show.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ontogeny.errors import ConfigError
from ontogeny.results.reader import ResultReader
from ontogeny.results.report.cards import facts_of_row
from ontogeny.results.style import escape_controls, format_value, round_number
from ontogeny.results.tables import Column

Readers = Mapping[str, ResultReader]
QUANTUM = "quantum"
KINDS = ("quanta", "quanta_latents", "loss_curves")
"""Results that speak of quanta."""
ORDERS = ("n_tokens", "emergence_step", "cohesion", "stability")
SAMPLE = ("text", "at", "document", "position", "loss", "centrality", "membership")
MOST_POINTS = 48
MOST_LATENTS = 12
MOST_WORDS = 60
MOST_HINTS = 4
ENDS = {"emergence_low": "emergence_step_low", "emergence_high": "emergence_step_high"}
"""An interval whose ends do not bear the name of what they are of."""
HISTORY = ("from_snapshot", "to_snapshot", "event", "match", "jaccard", "share", "n_shared", "q")


@dataclass(frozen=True)
class Excerpt:
    """How much of every quantum is shown: its most central tokens, and how many tokens around each; None means all."""

    samples: int | None = None
    before: int | None = None
    after: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("before", 0), ("after", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name} {value}: give {least} or more, or leave it out for all there are.")


class Words:
    """Every text of a page once, made visible; numbers in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number that stands for a text."""
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """All of them."""
        return [escape_controls(text) for text in self._numbers]


def compute_quanta(readers: Readers, excerpt: Excerpt) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """What the list of quanta shows, and a JSON-able page a quantum; None where no quanta were found."""
    reader = readers.get("quanta")
    if reader is None:
        return None
    words = Words()
    rows = reader.read("quanta").to_pylist()
    columns = [column for column in reader.columns("quanta") if column.name not in (QUANTUM, *ENDS)]
    losses = _by_quantum(reader.read("losses").to_pylist())
    snapshots = _snapshots(next(iter(losses.values()), []))
    tokens = _by_quantum(reader.read("tokens").to_pylist())
    neighbours = _by_quantum(reader.read("neighbours").to_pylist())
    single = _single_losses(reader, snapshots["names"])
    matches = reader.read("matches").to_pylist()
    latents = _latents(readers)
    pages = [
        {
            QUANTUM: row[QUANTUM],
            "facts": [fact["text"] for fact in facts_of_row("quanta", _with_ends(row), columns)],
            "loss": _curve(losses[row[QUANTUM]]),
            "samples": _samples(tokens[row[QUANTUM]], excerpt, single, words),
            "n_samples": row["n_tokens"],
            "neighbours": [
                [each["other"], round_number(each["cosine"]), round_number(each["cosine_se"])]
                for each in neighbours.get(row[QUANTUM], [])
            ],
            "history": _history(matches, row[QUANTUM]),
            "latents": latents.get(row[QUANTUM], []),
        }
        for row in rows
    ]
    index = [_entry(row, page, tokens[row[QUANTUM]], words) for row, page in zip(rows, pages, strict=True)]
    overview = {
        "index": index,
        "facts": [{name: fact[name] for name in ("name", "unit", "meaning")} for fact in _heads(rows, columns)],
        "sample": SAMPLE,
        "orders": [name for name in ORDERS if any(entry["by"].get(name) is not None for entry in index)],
        "snapshots": snapshots,
        "points": _points(len(snapshots["names"])),
        "asked_latents": "quanta_latents" in readers,
        "words": words.texts,
    }
    return overview, pages


def _heads(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """What the facts of every page are, once."""
    return facts_of_row("quanta", _with_ends(rows[0]), columns) if rows else []


def _with_ends(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: row[end] for end, name in ENDS.items()}


def _by_quantum(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[QUANTUM], []).append(row)
    return found


def _snapshots(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Their labels, and where they lie in time: by step, else by tokens, else one after the other."""
    places = {unit: [row[unit] for row in rows] for unit in ("step", "tokens")}
    unit = next((unit for unit, found in places.items() if found and None not in found), None)
    names = [escape_controls(row["snapshot"]) for row in rows]
    return {"names": names, "unit": unit, "places": places[unit] if unit else list(range(len(rows)))}


def _curve(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    ends = {"mean": "loss", "low": "loss_low", "high": "loss_high"}
    return {name: [round_number(row[column]) for row in rows] for name, column in ends.items()}


def _entry(row: dict[str, Any], page: dict[str, Any], tokens: Sequence[dict[str, Any]], words: Words) -> dict[str, Any]:
    """A line of the list: what it predicts and after what, most frequent first, its curve, what it is ordered by."""
    tokens = sorted(tokens, key=lambda each: each["rank"])
    said = Counter(each["token"] for each in tokens)
    hints = Counter(("".join((each["before"] or [])[-2:]), each["token"]) for each in tokens)
    return {
        QUANTUM: row[QUANTUM],
        "words": [words.number(token) for token, _ in said.most_common(MOST_WORDS)],
        "hints": [[words.number(before), words.number(token)] for (before, token), _ in hints.most_common(MOST_HINTS)],
        "norm": page["loss"]["mean"],
        "n_tokens": row["n_tokens"],
        "by": {name: round_number(row[name]) for name in ORDERS},
    }


def _samples(
    rows: Sequence[dict[str, Any]], excerpt: Excerpt, single: Mapping[int, np.ndarray], words: Words
) -> dict[str, Any]:
    """The most central tokens, each as `SAMPLE` names it: text [before.., token, after..] by numbers of words.

    `curves`: bytes [sample point] in base64, in units of `unit` nats.
    """
    chosen = sorted(rows, key=lambda row: row["rank"])[: excerpt.samples]
    curves = [single[row["index"]] for row in chosen if row["index"] in single]
    whole = len(curves) == len(chosen) and bool(chosen)
    largest = max((float(np.nanmax(curve)) for curve in curves if np.isfinite(curve).any()), default=0.0) or 1.0
    listed = []
    for row in chosen:
        before = _last(row["before"] or [], excerpt.before)
        after = (row["after"] or [])[: excerpt.after]
        text = [words.number(each) for each in (*before, row["token"], *after)]
        numbers = [round_number(row[name], 3) for name in SAMPLE[4:]]
        listed.append([text, len(before), row["document"], row["position"], *numbers])
    packed = [np.nan_to_num(curve / largest * 255).round().astype(np.uint8).tobytes() for curve in curves]
    return {
        "rows": listed,
        "curves": base64.b64encode(b"".join(packed)).decode() if whole else "",
        "unit": round_number(largest / 255),
    }


def _last(tokens: list[str], count: int | None) -> list[str]:
    return tokens if count is None else tokens[max(len(tokens) - count, 0) :]


def _points(count: int) -> list[int]:
    """The snapshots at which curves of single tokens are drawn."""
    return sorted({int(place) for place in np.linspace(0, max(count - 1, 0), min(count, MOST_POINTS)).round()})


def _single_losses(reader: ResultReader, names: Sequence[str]) -> dict[int, np.ndarray]:
    """Losses of every clustered token at those snapshots, by canonical index."""
    table = reader.read("token_losses")
    labels = table.column("snapshot").combine_chunks().dictionary_encode()
    place_of = np.array([names.index(escape_controls(label)) for label in labels.dictionary.to_pylist()])
    places = place_of[labels.indices.to_numpy()]
    index, row_of = np.unique(table.column("index").to_numpy(), return_inverse=True)
    values = np.full((len(index), len(names)), np.nan)
    values[row_of, places] = table.column("loss").to_numpy()
    return dict(zip(index.tolist(), values[:, _points(len(names))], strict=True))


def _history(matches: Sequence[dict[str, Any]], quantum: int) -> list[dict[str, Any]]:
    """What became this quantum, from the last snapshot backwards: the strongest link at each."""
    into: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in matches:
        if row[QUANTUM] is not None:
            into.setdefault((row["to_snapshot"], row[QUANTUM]), []).append(row)
    steps = list(dict.fromkeys(row["to_snapshot"] for row in matches))
    told: list[dict[str, Any]] = []
    current: int | None = quantum
    for snapshot in reversed(steps):
        found = into.get((snapshot, current), []) if current is not None else []
        if not found:
            break
        best = max(found, key=lambda row: row["jaccard"] or 0.0)
        told.append(
            {
                name: escape_controls(best[name]) if isinstance(best[name], str) else round_number(best[name])
                for name in HISTORY
            }
            | {"others": len(found) - 1}
        )
        current = best["match"]
    return told


def _latents(readers: Readers) -> dict[int, list[dict[str, Any]]]:
    """The latents that are on before a quantum's tokens more often than before others, by quantum."""
    reader = readers.get("quanta_latents")
    if reader is None:
        return {}
    times = {(row[QUANTUM], row["latent"]): row for row in reversed(reader.read("pairs").to_pylist())}
    found: dict[int, list[dict[str, Any]]] = {}
    for row in reader.read("enriched").to_pylist():
        listed = found.setdefault(row[QUANTUM], [])
        if len(listed) < MOST_LATENTS:
            pair = times.get((row[QUANTUM], row["latent"]), {})
            low, high = (format_value(row[f"log_odds_{end}"]) for end in ("low", "high"))
            listed.append(
                {
                    "latent": row["latent"],
                    "on": f"{row['n_on']} of {row['n_tokens']}",
                    "lift": round_number(row["lift"]),
                    "log_odds": f"{format_value(row['log_odds'])} [{low}, {high}]",
                    "q": round_number(row["q"]),
                    "half_rise_step": round_number(pair.get("half_rise_step")),
                }
            )
    return found
