"""Notes in a database: keyed, idempotent, of several authors, and one line for whatever is wrong with the database."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from ontogeny.errors import AnnotationError
from ontogeny.results.annotations import Note, NoteStore, Saved, latest_notes, open_notes
from ontogeny.workspace import Workspace

NOTE = Note("d1", 7, "agreement", "ann", "plural nouns", "eng, fra", "yes", "no", "see 9", ("nouns", "number"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NoteStore]:
    with open_notes(Workspace(tmp_path / "w")) as opened:
        yield opened


def plain(notes: list[Note]) -> list[Note]:
    return [replace(note, changed=None) for note in notes]


def test_what_is_kept_comes_back_with_its_time(store: NoteStore, tmp_path: Path) -> None:
    assert store.save([NOTE]) == Saved(new=1)
    (found,) = store.load("d1")
    assert replace(found, changed=None) == NOTE and found.changed is not None and found.changed.tzinfo is not None
    assert (tmp_path / "w" / "notes.sqlite").is_file()


def test_the_same_again_changes_nothing_not_even_its_time(store: NoteStore) -> None:
    store.save([NOTE])
    before = store.load("d1")
    assert store.save([NOTE, NOTE]) == Saved(same=2)
    assert store.save([replace(NOTE, author="bob")]) == Saved(same=1), "what somebody said is not said again"
    assert store.load("d1") == before


def test_notes_of_two_authors_stand_side_by_side_and_the_latest_counts(store: NoteStore) -> None:
    store.save([NOTE])
    other = replace(NOTE, author="bob", description="plurals")
    assert store.save([other]) == Saved(changed=1)
    assert len(store.load("d1")) == 2
    assert latest_notes(store.load("d1"))[7].author == "bob"
    assert store.save([replace(NOTE, description="")]) == Saved(changed=1)
    assert latest_notes(store.load("d1"))[7].author == "ann"
    assert store.remove(NOTE) and not store.remove(NOTE)
    assert plain(store.load("d1")) == [other]


def test_notes_are_found_by_latent_behaviour_and_author(store: NoteStore) -> None:
    several = [NOTE, replace(NOTE, latent=8), replace(NOTE, behaviour="ioi"), replace(NOTE, dictionary="d2")]
    assert store.save(several) == Saved(new=4)
    assert {note.latent for note in store.load("d1")} == {7, 8}
    assert [note.behaviour for note in store.load("d1", latents=[7], behaviour="ioi")] == ["ioi"]
    assert not store.load("d1", author="bob") and not store.load("d1", latents=[])


def test_all_notes_are_kept_or_none(store: NoteStore) -> None:
    def torn() -> Iterator[Note]:
        yield NOTE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save(torn())
    assert not store.load("d1")


def test_a_database_that_cannot_serve_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="'nonsense' is no database URL"):
        NoteStore("nonsense")
    with pytest.raises(AnnotationError, match="needs a driver") as caught:
        NoteStore("dialect://me:secret@host/name")
    assert "secret" not in str(caught.value)
    file = tmp_path / "text.sqlite"
    file.write_text("no database at all, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(AnnotationError, match="not a database") as caught:
        NoteStore(f"sqlite:///{file}")
    assert "\n" not in str(caught.value)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'notes.sqlite'}"
    NoteStore(url).close()
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sql.text("update notes_format set version = 9"))
    engine.dispose()
    with pytest.raises(AnnotationError, match="format 9"):
        NoteStore(url)


def test_postgresql_is_spoken_to_by_psycopg() -> None:
    from ontogeny.results.annotations import _parse_url

    assert _parse_url("postgresql://me@host/name").drivername == "postgresql+psycopg"
