"""Latents are chosen as they were asked for; what is not there is said with what is."""

import pytest

from ontogeny.errors import ConfigError
from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.report.selection import choose_latents, iter_number_columns
from ontogeny.workspace import Workspace
from results.synthetic import CLASSES, N_LATENTS


@pytest.fixture(scope="module")
def readers(made_up: Workspace) -> dict[str, ResultReader]:
    gathered = gather_results(made_up, "made-up")
    return {kind: ResultReader(artifact.path) for kind, artifact in gathered.results.items()}


def test_named_latents_come_as_they_are_named(readers: dict[str, ResultReader]) -> None:
    assert choose_latents(readers, [7, 3, 7]) == [7, 3]
    assert choose_latents(readers, [7, 3], top=1) == [7]


@pytest.mark.parametrize("by", ["max", "statistics.max", "statistics.latents.max"])
def test_the_largest_by_a_column(readers: dict[str, ResultReader], by: str) -> None:
    rows = readers["statistics"].read("latents", ["latent", "max"]).to_pylist()
    known = [row for row in rows if row["max"] is not None]
    expected = [row["latent"] for row in sorted(known, key=lambda row: -row["max"])]
    assert choose_latents(readers, top=5, by=by) == expected[:5]
    assert choose_latents(readers, top=5, by=by, lowest=True) == expected[::-1][:5]
    assert N_LATENTS - 1 not in choose_latents(readers, top=N_LATENTS, by=by), "a missing value is no smallest one"


def test_without_a_wish_every_class_is_there(readers: dict[str, ResultReader]) -> None:
    chosen = choose_latents(readers, top=len(CLASSES))
    rows = readers["evolution"].read("latents", ["latent", "class"], chosen).to_pylist()
    assert sorted(row["class"] for row in rows) == sorted(CLASSES)


def test_dead_latents_are_shown_only_when_they_are_asked_for(readers: dict[str, ResultReader]) -> None:
    assert N_LATENTS - 1 not in choose_latents(readers, top=N_LATENTS)
    assert choose_latents(readers, [N_LATENTS - 1]) == [N_LATENTS - 1]


def test_a_latent_out_of_range_names_the_range(readers: dict[str, ResultReader]) -> None:
    with pytest.raises(ConfigError, match=f"no latent {N_LATENTS}: this dictionary's latents are 0 to {N_LATENTS - 1}"):
        choose_latents(readers, [0, N_LATENTS])
    with pytest.raises(ConfigError, match=f"no latent {N_LATENTS}"):
        choose_latents(readers, [N_LATENTS], by="max")


def test_an_unknown_column_lists_the_known(readers: dict[str, ResultReader]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'density'.*lifetime.*purity"):
        choose_latents(readers, by="densty")
    with pytest.raises(ConfigError, match="class"):
        choose_latents(readers, by="class")


def test_only_numbers_of_tables_with_a_row_a_latent(readers: dict[str, ResultReader]) -> None:
    known = set(iter_number_columns(readers))
    assert ("statistics", "latents", "density") in known
    assert not {("evolution", "latents", "class"), ("evolution", "trajectories", "norm")} & known


def test_nothing_to_choose_from() -> None:
    assert choose_latents({}) == []
