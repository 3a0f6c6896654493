"""Which latents a report shows: those named, those with the largest numbers, or some of every class."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from ontogeny.config import did_you_mean
from ontogeny.errors import ConfigError
from ontogeny.results.reader import LATENT, ResultReader

Readers = Mapping[str, ResultReader]
MOST_UNASKED = 36
MOST_SAMPLED = 200_000
ACTIVITY = ("n_active", "n_tokens", "density", "largest_norm")


def choose_latents(
    readers: Readers, latents: Sequence[int] = (), top: int | None = None, by: str | None = None, lowest: bool = False
) -> list[int]:
    """The latents of a report, in the order in which it shows them.

    `latents` as they are named; else the `top` ones by a column of a table with one row a latent (`by`, a bare name or
    `analysis.table.column`; null comes never); else some of every class, the most active first. ConfigError for a
    latent out of range and for a column that is not there.
    """
    if latents:
        _check_range(readers, latents)
    if by is not None:
        named = set(latents)
        chosen = [latent for latent in _rank(readers, by, lowest) if not named or latent in named]
        return chosen[: top or MOST_UNASKED]
    if latents:
        return list(dict.fromkeys(latents))[:top]
    return _of_every_class(readers, top or MOST_UNASKED)


def iter_number_columns(readers: Readers) -> Iterator[tuple[str, str, str]]:
    """(analysis, table, column) of every number in a table with one row a latent."""
    for kind, reader in readers.items():
        for table in reader.tables:
            if not reader.is_per_latent(table):
                continue
            schema = reader.schema(table)
            for column in reader.column_names(table):
                kinds = schema.field(column).type
                if column != LATENT and (pa.types.is_integer(kinds) or pa.types.is_floating(kinds)):
                    yield kind, table, column


def _rank(readers: Readers, by: str, lowest: bool, least: float = -np.inf) -> list[int]:
    """Latents whose number is above `least` by a column, largest (or smallest) first; equal ones by index."""
    known = list(iter_number_columns(readers))
    fitting = [each for each in known if by in (each[2], ".".join(each), f"{each[0]}.{each[2]}")]
    if not fitting:
        names = list(dict.fromkeys(column for _, _, column in known if not column.endswith("_se")))
        there_are = f"there are {', '.join(names)}."
        hint = f"{did_you_mean(by, names)} {there_are}".lstrip()
        raise ConfigError(f"--by {by}: no table with a row a latent has this number; {hint}")
    kind, table, column = fitting[0]
    data = readers[kind].read(table, [LATENT, column])
    values = np.asarray(data.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False))
    latents = data.column(LATENT).to_numpy()
    known_rows = np.flatnonzero(np.isfinite(values) & (values > least))
    order = np.lexsort((latents[known_rows], values[known_rows] if lowest else -values[known_rows]))
    return [int(latent) for latent in latents[known_rows[order]]]


def _check_range(readers: Readers, latents: Sequence[int]) -> None:
    largest = [
        reader.largest(table, LATENT)
        for reader in readers.values()
        for table in reader.tables
        if LATENT in reader.column_names(table)
    ]
    last = max((int(each) for each in largest if each is not None), default=-1)
    unknown = [latent for latent in latents if not 0 <= latent <= last]
    if unknown:
        raise ConfigError(f"there is no latent {unknown[0]}: this dictionary's latents are 0 to {last}.")


def read_classes(readers: Readers, latents: Sequence[int] | None = None) -> dict[int, str]:
    """The class of each latent, from the evolution of latents, else from any analysis that gives them classes."""
    for kind in sorted(readers, key=lambda kind: (kind != "evolution", kind)):
        reader = readers[kind]
        for table in reader.tables:
            if "class" in reader.column_names(table) and reader.is_per_latent(table):
                rows = reader.read(table, [LATENT, "class"], latents).to_pylist()
                return {row[LATENT]: str(row["class"]) for row in rows if row["class"] is not None}
    return {}


def _of_every_class(readers: Readers, count: int) -> list[int]:
    """The most active latents, the classes (where they are known) in turn."""
    ranked, classes = _most_active(readers), read_classes(readers)
    seen: dict[str, int] = {}
    turn = {}
    for latent in ranked:
        name = classes.get(latent, "")
        turn[latent] = seen[name] = seen.get(name, 0) + 1
    return sorted(sorted(ranked, key=turn.__getitem__)[:count])


def _most_active(readers: Readers) -> list[int]:
    """All latents that fire, by the first column that says how much; by index where none does
    (of a long table, those of a sample)."""
    columns = {column for _, _, column in iter_number_columns(readers)}
    for name in ACTIVITY:
        if name in columns:
            return _rank(readers, name, lowest=False, least=0.0)
    for reader in readers.values():
        for table in reader.tables:
            if LATENT in reader.column_names(table):
                return sorted(set(reader.sample(table, MOST_SAMPLED, [LATENT]).column(LATENT).to_pylist()))
    return []
