"""Cards say what the tables say, and what is missing."""

from datetime import UTC, datetime

import pytest

from ontogeny.results.annotations import Note
from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.report.cards import compute_cards, index_cards, list_missing
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


def test_notes_stand_on_their_latents_card_and_name_it_in_the_list(readers: dict[str, ResultReader]) -> None:
    when = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    hostile = Note("d", 2, "agreement", "eve\u202e", "plural\nnouns", "en", "yes", tags=("a\0b",), changed=when)
    noted, bare = compute_cards(readers, [2, 3], SOURCES, [hostile, Note("d", 7, description="of another")])
    (note,) = noted["notes"]
    assert (note["author"], note["description"]) == ("eve⟨U+202E⟩", "plural⏎nouns")
    assert (note["behaviour"], note["date"], note["bookmarked"]) == ("agreement", "2026-11-21", False)
    assert note["judged"] == "languages: en · interpretable: yes · #a⟨U+0000⟩b"
    texts = [entry["text"] for entry in index_cards([noted, bare])]
    assert texts[0] == "plural⏎nouns" and "plural" not in texts[1] and bare["notes"] == []


def test_any_analysis_may_be_missing(readers: dict[str, ResultReader]) -> None:
    for absent in readers:
        rest = {kind: reader for kind, reader in readers.items() if kind != absent}
        (card,) = compute_cards(rest, [0], SOURCES)
        assert set(list_missing(rest).values()) == {absent}
        assert card["latent"] == 0
    assert compute_cards({}, [3], SOURCES)[0]["facts"] == [] and list_missing(readers) == {}
