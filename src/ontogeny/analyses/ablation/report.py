"""The result of an ablation: tables, what to look at first, and what a sentence says of every behaviour."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ontogeny.analyses.ablation import columns
from ontogeny.analyses.ablation.config import AblationConfig
from ontogeny.analyses.ablation.measure import Ablated, Ablation
from ontogeny.analyses.ablation.singles import SingleRows
from ontogeny.analyses.ablation.tables import SourceRows
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.results import Column, Result, Table, View
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours

MOST_PICTURED = 6
"""Behaviours with pictures of their own."""


def make_result(inputs: AnalysisInputs, config: AblationConfig) -> Result:
    """Rank, ablate and keep, ablate one by one."""
    behaviours = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    ablation = Ablation(inputs, config, behaviours)
    found = ablation.run()
    sources = [inputs.sources[place] for place in ablation.places]
    parts = {
        name: [
            SourceRows(name, given, column, label, source.snapshot.step, config)
            for column, (label, source) in enumerate(zip(ablation.names, sources, strict=True))
        ]
        for name, given in found.items()
    }
    series = list(ablation.by_hook_point.values())
    alone = [SingleRows(name, given, sources, ablation.names, series, config) for name, given in found.items()]

    def gather(rows_of: Callable[[SourceRows], Iterable[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        return (row for each in parts.values() for part in each for row in rows_of(part))

    halves, contrasts = list(gather(SourceRows.halves)), list(gather(SourceRows.contrasts))
    agreement = [row for part in alone for row in part.agreement()]
    tables = (
        _table("reference", columns.REFERENCE, gather(SourceRows.reference)),
        _table("halves", columns.HALVES, halves),
        _table("contrasts", columns.CONTRASTS, contrasts),
        _table("agreement", columns.AGREEMENT, agreement),
        _table("ablated", columns.ABLATED, gather(lambda part: part.curves("ablate"))),
        _table("kept", columns.KEPT, gather(lambda part: part.curves("keep"))),
        _table("singles", columns.SINGLES, (row for part in alone for row in part.singles()), ("latent",)),
        _table("ranked", columns.RANKED, gather(SourceRows.ranked), ("latent",)),
        _table("controls", columns.CONTROLS, gather(SourceRows.controls)),
    )
    stepped = all(source.snapshot.step is not None for source in sources)
    views = _views(found, parts, config, "step" if stepped else "source")
    return Result("ablation", tables, views, _summary(found, parts, halves, contrasts, agreement))


def _table(
    name: str, kinds: tuple[Column, ...], rows: Iterable[dict[str, Any]], sorted_by: tuple[str, ...] = ()
) -> Table:
    made = Table.from_rows(name, kinds, rows, columns.schema_of(kinds))
    return Table(name, kinds, made.data, sorted_by)


def _strongest(parts: list[SourceRows]) -> str:
    """The source in which ablating all latents changes most."""
    sizes = [abs(float(part.states["latents"].value - part.states["untouched"].value)) for part in parts]
    return str(parts[sizes.index(max(sizes))].place["source"])


def _views(
    found: dict[str, Ablated], parts: dict[str, list[SourceRows]], config: AblationConfig, x: str
) -> tuple[View, ...]:
    error = config.errors[0]
    views = []
    for name in list(found)[:MOST_PICTURED]:
        source = _strongest(parts[name])
        here = (("behaviour", name), ("source", source), ("error", error))
        for mode, table, y, title in (
            ("ablate", "ablated", "difference", "Logit difference with latents ablated"),
            ("ablate", "ablated", "accuracy", "Accuracy with latents ablated"),
            ("keep", "kept", "difference", "Logit difference with nothing but latents kept"),
        ):
            if mode in config.modes:
                views.append(
                    View(
                        "line",
                        table,
                        f"{title}: {name}, {source}",
                        x="count",
                        y=(y,),
                        group="ranking",
                        log_x=True,
                        where=here,
                    )
                )
        chosen = (("behaviour", name), ("mode", config.modes[0]), ("error", error))
        title = f"How many latents carry half of {name}"
        views.append(View("line", "halves", title, x=x, y=("half_count",), group="ranking", log_y=True, where=chosen))
    return (
        *views,
        View("scatter", "singles", "RelIE and ablation one by one", x="share", y=("ablated_share",), group="source"),
        View("table", "agreement", "What predicts where a latent matters"),
        View("table", "contrasts", "Rankings against controls"),
    )


def _summary(
    found: dict[str, Ablated],
    parts: dict[str, list[SourceRows]],
    halves: list[dict[str, Any]],
    contrasts: list[dict[str, Any]],
    agreement: list[dict[str, Any]],
) -> dict[str, Any]:
    told: list[str] = []
    counts: dict[str, float | None] = {}
    for name in found:
        source = _strongest(parts[name])
        first = next(iter(parts[name][0].named))
        here = [row for row in halves if (row["behaviour"], row["source"]) == (name, source)]
        chosen = next((row for row in here if row["ranking"] == first), None)
        counts[name] = None if chosen is None else chosen["half_count"]
        told.append(f"{name}, {source}: {_takes(chosen, first)}{_against(name, source, first, contrasts)}")
    rho = {
        predictor: _median([row["rho"] for row in agreement if row["predictor"] == predictor])
        for predictor in ("share", "norm_share")
    }
    return {"half_count": counts, "median_rho": rho, "sentences": told}


def _takes(row: dict[str, Any] | None, ranking: str) -> str:
    if row is None or row["half_count"] is None:
        return f"the first latents by {ranking} never come to half of what all do"
    ends = [row["half_count_low"], row["half_count_high"]]
    low, high = ("?" if end is None else f"{end:.3g}" for end in ends)
    verb = "ablating" if row["mode"] == "ablate" else "keeping"
    many = f"{row['half_count']:.3g} [{low}, {high}]"
    return f"{verb} the first {many} latents by {ranking} does half of what {verb} all does"


def _against(name: str, source: str, ranking: str, contrasts: list[dict[str, Any]]) -> str:
    """What controls say of it."""
    rows = [
        row
        for row in contrasts
        if (row["behaviour"], row["source"], row["ranking"]) == (name, source, ranking)
        and row["mode"] == contrasts[0]["mode"]
        and row["error"] == contrasts[0]["error"]
    ]
    if not rows:
        return "."
    beaten = [row for row in rows if row["advantage_low"] is not None and row["advantage_low"] > 0]
    less = [row["against"] for row in rows if row not in beaten]
    if not less:
        return (
            f", and at equal numbers more than latents drawn at random ({', '.join(row['against'] for row in rows)})."
        )
    return f"; it is not sure that at equal numbers they do more than {', '.join(less)}."


def _median(values: list[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None
