"""Cards say what the tables say, and what is missing."""

import pytest

from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.report.cards import compute_cards, list_missing
from ontogeny.workspace import Workspace
from results.synthetic import N_LATENTS, SOURCES


@pytest.fixture(scope="module")
def readers(made_up: Workspace) -> dict[str, ResultReader]:
    gathered = gather_results(made_up, "made-up")
    return {kind: ResultReader(artifact.path) for kind, artifact in gathered.results.items()}


def test_a_whole_card(readers: dict[str, ResultReader]) -> None:
    (card,) = compute_cards(readers, [2], SOURCES)
    norms = readers["evolution"].read("trajectories", latents=[2]).to_pylist()
    assert card["trajectory"]["norm"] == pytest.approx([row["norm"] for row in norms], rel=1e-3)
    scaled = readers["latent_scaling"].read("scaling", latents=[2]).to_pylist()
    assert card["scaling"]["nu_error"] == pytest.approx([row["nu_error"] for row in scaled], rel=1e-3, abs=1e-3)
    assert [len(row) for row in card["directions"]] == [len(SOURCES)] * len(SOURCES)
    assert list(card["logits"]) == list(SOURCES[::4]) and len(card["logits"]["step0"]["top"]) == 8
    assert card["histogram"]["edges"][:2] == [0, 0.5] and card["histogram"]["counts"][0] == 200
    assert {table["table"] for table in card["small"]} == {"latent_sources", "groups"}
    facts = {fact["name"]: fact["text"] for fact in card["facts"]}
    assert facts["class"] == "persistent" and "±" in facts["density"] and "density_se" not in facts


def test_a_dead_latent_has_no_numbers_and_no_made_up_ones(readers: dict[str, ResultReader]) -> None:
    (card,) = compute_cards(readers, [N_LATENTS - 1], SOURCES)
    facts = {fact["name"]: fact["text"] for fact in card["facts"]}
    assert card["histogram"] is None and card["examples"] == [] and facts["mean"] == "" and facts["n_active"] == "0"


def test_any_analysis_may_be_missing(readers: dict[str, ResultReader]) -> None:
    for absent in readers:
        rest = {kind: reader for kind, reader in readers.items() if kind != absent}
        (card,) = compute_cards(rest, [0], SOURCES)
        assert set(list_missing(rest).values()) == {absent}
        assert card["latent"] == 0
    assert compute_cards({}, [3], SOURCES)[0]["facts"] == [] and list_missing(readers) == {}
