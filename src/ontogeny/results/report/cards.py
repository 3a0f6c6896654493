"""A latent's card: all that the results say of it, small enough that fifty cards fit on a page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ontogeny.results.annotations import Note
from ontogeny.results.reader import LATENT, ResultReader
from ontogeny.results.report.selection import read_classes
from ontogeny.results.report.windows import Window, pack_windows
from ontogeny.results.style import escape_controls, format_value, round_number
from ontogeny.results.tables import Column

Readers = Mapping[str, ResultReader]
Rows = dict[int, list[dict[str, Any]]]

# What a card shows apart from facts and small tables: where it is kept, and by which columns it is known.
PARTS: dict[str, tuple[str, str, frozenset[str]]] = {
    "examples": ("examples", "examples", frozenset({"kind", "tokens", "values", "row", "position"})),
    "example_sources": ("examples", "example_sources", frozenset({"row", "position", "source", "evidence"})),
    "trajectory": ("evolution", "trajectories", frozenset({"source", "norm"})),
    "directions": ("evolution", "directions", frozenset({"source", "other", "cosine"})),
    "scaling": ("latent_scaling", "scaling", frozenset({"source", "nu_error", "nu_reconstruction"})),
    "histogram": ("statistics", "histogram", frozenset({"lower", "upper", "count"})),
    "logits": ("meaning", "logits", frozenset({"source", "side", "rank", "token", "effect"})),
}
# What a reader may miss on a card, and the analysis that finds it.
WANTED = {
    "examples": "examples",
    "trajectory": "evolution",
    "directions": "evolution",
    "scaling": "latent_scaling",
    "histogram": "statistics",
    "logits": "meaning",
    "explanation": "explanations",
    "twins": "stability",
}
MOST_SMALL_ROWS = 12
MOST_LOGITS = 12


def compute_cards(
    readers: Readers, latents: Sequence[int], sources: Sequence[str], notes: Sequence[Note] = ()
) -> list[dict[str, Any]]:
    """One JSON-able card a latent, in this order; every table is read once for all of them."""
    parts = {name: _rows(readers, name, latents) for name in PARTS}
    facts = _facts(readers, latents)
    small = _small_tables(readers, latents)
    classes = read_classes(readers, latents)
    return [
        {
            LATENT: latent,
            "class": escape_controls(classes.get(latent, "")),
            "notes": [_note(note) for note in notes if note.latent == latent],
            "facts": facts[latent],
            "trajectory": _by_source(parts["trajectory"].get(latent, ()), sources, ("norm", "live")),
            "scaling": _scaling(parts["scaling"].get(latent, ()), parts["trajectory"].get(latent, ()), sources),
            "histogram": _histogram(parts["histogram"].get(latent, ())),
            "logits": _logits(parts["logits"].get(latent, ()), sources),
            "directions": _directions(parts["directions"].get(latent, ()), sources),
            "examples": _examples(parts["examples"].get(latent, ()), parts["example_sources"].get(latent, ()), sources),
            "small": small[latent],
        }
        for latent in latents
    ]


def index_cards(cards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the list of latents shows of each card, so that a card need not be read before it is opened."""
    return [
        {
            LATENT: card[LATENT],
            "class": card["class"],
            "text": _first_text(card),
            "norm": card["trajectory"]["norm"] if card["trajectory"] else [],
        }
        for card in cards
    ]


def _first_text(card: Mapping[str, Any]) -> str:
    """What people say of it, else its explanation, else the tokens on which it is strongest."""
    described = [note["description"] for note in card["notes"] if note["description"]]
    if described:
        return str(described[0])
    for fact in card["facts"]:
        if fact["name"] == "explanation" and fact["text"]:
            return str(fact["text"])
    tops = [each for each in card["examples"] if each["kind"] == "top" and each["at"] is not None]
    return " · ".join(each["tokens"][each["at"]] for each in tops[:4])


def list_missing(readers: Readers) -> dict[str, str]:
    """What the cards lack, and the analysis that would find it."""
    return {part: kind for part, kind in WANTED.items() if kind not in readers}


def is_on_cards(reader: ResultReader, table: str) -> bool:
    """Whether a table has several rows a latent, and so is shown on the cards and not among the tables."""
    return LATENT in reader.column_names(table) and not reader.is_per_latent(table)


def _part_of(kind: str, table: str, names: Iterable[str]) -> str | None:
    """The part of a card that a table holds."""
    for part, (analysis, name, columns) in PARTS.items():
        if (analysis, name) == (kind, table) and columns <= set(names):
            return part
    return None


def _rows(readers: Readers, part: str, latents: Sequence[int]) -> Rows:
    """Rows of a part by latent; none where the analysis was not made or says it otherwise."""
    kind, table, columns = PARTS[part]
    reader = readers.get(kind)
    if reader is None or table not in reader.tables or not columns <= set(reader.column_names(table)):
        return {}
    return _by_latent(reader.read(table, latents=latents).to_pylist())


def _by_latent(rows: Iterable[dict[str, Any]]) -> Rows:
    found: Rows = {}
    for row in rows:
        found.setdefault(row[LATENT], []).append(row)
    return found


def _facts(readers: Readers, latents: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Every number of the tables with one row a latent: analysis, name, text with its uncertainty, meaning, value."""
    facts: dict[int, list[dict[str, Any]]] = {latent: [] for latent in latents}
    for kind, reader in readers.items():
        for table in reader.tables:
            if not reader.is_per_latent(table):
                continue
            columns = [column for column in reader.columns(table) if column.name != LATENT]
            for row in reader.read(table, latents=latents).to_pylist():
                facts[row[LATENT]] += facts_of_row(kind, row, columns)
    return facts


def facts_of_row(kind: str, row: dict[str, Any], columns: Sequence[Column]) -> list[dict[str, Any]]:
    facts = []
    for column in columns:
        stem, _, end = column.name.rpartition("_")
        if end in ("se", "low", "high") and stem in row:
            continue
        value = row[column.name]
        text = format_value(value, row.get(f"{column.name}_se"))
        low, high = row.get(f"{column.name}_low"), row.get(f"{column.name}_high")
        if low is not None and high is not None:
            text += f" [{format_value(low)}, {format_value(high)}]"
        fact = {"analysis": kind, "name": column.name, "text": text, "unit": column.unit, "meaning": column.meaning}
        number = isinstance(value, int | float) and not isinstance(value, bool)
        facts.append({**fact, "value": round_number(value)} if number else fact)
    return facts


def _note(note: Note) -> dict[str, Any]:
    """What somebody wrote: the description, who and when, what was judged, and anything else."""
    judged = {"languages": note.languages, "interpretable": note.interpretable, "monosemantic": note.monosemantic}
    said = [f"{name}: {text}" for name, text in judged.items() if text]
    tags = [f"#{tag}" for tag in note.tags]
    return {
        "description": escape_controls(note.description),
        "behaviour": escape_controls(note.behaviour),
        "author": escape_controls(note.author),
        "date": "" if note.changed is None else note.changed.date().isoformat(),
        "judged": escape_controls(" · ".join([*said, *tags])),
        "text": escape_controls(note.notes),
        "bookmarked": note.bookmarked,
    }


def _small_tables(readers: Readers, latents: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Tables with several rows a latent that no part of the card knows: their first rows as they are."""
    small: dict[int, list[dict[str, Any]]] = {latent: [] for latent in latents}
    for kind, reader in readers.items():
        for table in reader.tables:
            names = reader.column_names(table)
            if not is_on_cards(reader, table) or _part_of(kind, table, names) is not None:
                continue
            shown = [column for column in reader.columns(table) if column.name != LATENT]
            shown = [each for each in shown if not (each.name.endswith("_se") and each.name[:-3] in names)]
            for latent, rows in _by_latent(reader.read(table, latents=latents).to_pylist()).items():
                cells = [
                    [format_value(row[each.name], row.get(f"{each.name}_se")) for each in shown]
                    for row in rows[:MOST_SMALL_ROWS]
                ]
                heads = [each.name for each in shown]
                entry = {"analysis": kind, "table": table, "columns": heads, "rows": cells, "n_rows": len(rows)}
                small[latent].append(entry)
    return small


def _by_source(
    rows: Sequence[dict[str, Any]], sources: Sequence[str], names: Sequence[str]
) -> dict[str, list[Any]] | None:
    """Columns as lists in the order of the sources, null where a source has no row."""
    by_source = {row["source"]: row for row in rows}
    if not by_source:
        return None
    return {name: [round_number(by_source.get(source, {}).get(name)) for source in sources] for name in names}


def _scaling(
    rows: Sequence[dict[str, Any]], trajectory: Sequence[dict[str, Any]], sources: Sequence[str]
) -> dict[str, list[Any]] | None:
    """nu on the error, on the reconstruction and along the source's own decoder, by source, with standard errors.

    All are shares of what the probe's source holds. Where several probes were scaled, the one at the latent's largest
    norm is taken, else the first.
    """
    probes = list(dict.fromkeys(row.get("probe") for row in rows))
    peak = max(trajectory, key=lambda row: row["norm"] or 0.0)["source"] if trajectory else None
    probe = peak if peak in probes else probes[0] if probes else None
    names = [f"nu_{target}{end}" for target in ("error", "own", "reconstruction") for end in ("", "_se")]
    scaling = _by_source([row for row in rows if row.get("probe") == probe], sources, names)
    known = scaling is not None and any(value is not None for name in names for value in scaling[name])
    return None if scaling is None or not known else {**scaling, "probe": [escape_controls(str(probe or ""))]}


def _histogram(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]] | None:
    placed = sorted((row for row in rows if row["lower"] is not None), key=lambda row: row["lower"])
    if not any(row["count"] for row in placed):
        return None
    edges = [round_number(row["lower"]) for row in placed] + [round_number(placed[-1]["upper"])]
    return {"edges": edges, "counts": [row["count"] or 0 for row in placed]}


def _logits(rows: Sequence[dict[str, Any]], sources: Sequence[str]) -> dict[str, dict[str, list[Any]]] | None:
    """Tokens pushed up and down, by source: token, effect, effect with its error, from the strongest on."""
    found: dict[str, dict[str, list[Any]]] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        side = found.setdefault(row["source"], {"top": [], "bottom": []}).setdefault(row["side"], [])
        if len(side) < MOST_LOGITS:
            effect = format_value(row["effect"], row.get("effect_se"))
            side.append([escape_controls(str(row["token"])), round_number(row["effect"]), effect])
    return {source: found[source] for source in sources if source in found} or None


def _directions(rows: Sequence[dict[str, Any]], sources: Sequence[str]) -> list[list[int | float | None]] | None:
    """Cosines [source other], both in the order of the sources."""
    cells = {(row["source"], row["other"]): round_number(row["cosine"], 3) for row in rows}
    if not cells:
        return None
    # A table may give each pair once.
    return [[cells.get((one, other), cells.get((other, one))) for other in sources] for one in sources]


def _examples(
    rows: Sequence[dict[str, Any]], by_source: Sequence[dict[str, Any]], sources: Sequence[str]
) -> list[dict[str, Any]]:
    """Windows, packed: what they are, their tokens, codes, and per source gate and own evidence."""
    per_source: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for row in by_source:
        per_source.setdefault((row["row"], row["position"]), {})[row["source"]] = row
    windows = [Window(row, per_source.get((row["row"], row["position"]), {})) for row in rows]
    return pack_windows(windows, sources)
