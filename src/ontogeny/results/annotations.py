"""What people write about latents: notes in an SQL database, SQLite beside the artifacts or one that a team shares.

A note is of one author about one latent of one dictionary, as such or as part of a behaviour. SQLite needs no server;
any other database is named by its URL, PostgreSQL for one.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from ontogeny.errors import AnnotationError
from ontogeny.workspace import Workspace, disk_errors

SCHEMA = 1
"""Version of the tables; a database of a later one is refused."""
FILE = "notes.sqlite"
SECONDS_TO_WAIT = 30
KEY = ("dictionary", "latent", "behaviour", "author")


@dataclass(frozen=True)
class Note:
    """What one author says of a latent.

    `dictionary`: its id; `behaviour`: "" for the latent as such; `description`: what it stands for, in a few words;
    `languages`: in which ones; `interpretable`, `monosemantic`: yes, no, unclear, or "" where nobody has said;
    `notes`: anything else; `tags`: words to find it by; `changed`: when the note last changed, None before it is kept.
    """

    dictionary: str
    latent: int
    behaviour: str = ""
    author: str = ""
    description: str = ""
    languages: str = ""
    interpretable: str = ""
    monosemantic: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    bookmarked: bool = False
    changed: datetime | None = None

    @property
    def says(self) -> tuple[Any, ...]:
        """What it says, whoever wrote it and when."""
        own = asdict(self)
        return tuple(own[name] for name in own if name not in (*KEY, "changed"))


@dataclass(frozen=True)
class Saved:
    """How many notes were new, changed, and there already."""

    new: int = 0
    changed: int = 0
    same: int = 0


_METADATA = sql.MetaData()
_NOTES = sql.Table(
    "notes",
    _METADATA,
    sql.Column("dictionary", sql.String(64), primary_key=True),
    sql.Column("latent", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("behaviour", sql.String(200), primary_key=True),
    sql.Column("author", sql.String(200), primary_key=True),
    sql.Column("description", sql.Text, nullable=False),
    sql.Column("languages", sql.Text, nullable=False),
    sql.Column("interpretable", sql.String(16), nullable=False),
    sql.Column("monosemantic", sql.String(16), nullable=False),
    sql.Column("notes", sql.Text, nullable=False),
    sql.Column("tags", sql.JSON, nullable=False),
    sql.Column("bookmarked", sql.Boolean, nullable=False),
    sql.Column("changed", sql.String(40), nullable=False),
)
_VERSION = sql.Table(
    "notes_format", _METADATA, sql.Column("version", sql.Integer, primary_key=True, autoincrement=False)
)


def open_notes(workspace: Workspace, url: str | None = None) -> "NoteStore":
    """The notes of a workspace: in `notes.sqlite` at its root, or in the database at `url`."""
    return NoteStore(url if url is not None else f"sqlite:///{(workspace.root / FILE).absolute()}")


def load_notes(workspace: Workspace, dictionary: str, url: str | None = None) -> list[Note]:
    """All notes of a dictionary, the latest change first; of a workspace without notes none, and no file is made."""
    if url is None and not (workspace.root / FILE).is_file():
        return []
    with open_notes(workspace, url) as store:
        return store.load(dictionary)


class NoteStore:
    """A database of notes; its tables are made where they are not there yet.

    AnnotationError for a URL that is none, a driver that is not installed, a database that does not answer, or one that
    a later version made.
    """

    def __init__(self, url: str) -> None:
        self.url = _parse_url(url)
        with _database_errors(self.url):
            options = {"timeout": SECONDS_TO_WAIT} if self.url.get_backend_name() == "sqlite" else {}
            self._engine = sql.create_engine(self.url, connect_args=options)
            with self._engine.begin() as connection:
                _METADATA.create_all(connection)
                known = connection.execute(sql.select(_VERSION.c.version)).scalar()
                if known is None:
                    connection.execute(_VERSION.insert().values(version=SCHEMA))
        if known is not None and known > SCHEMA:
            self.close()
            raise AnnotationError(f"{_shown(self.url)} has notes of format {known}, this version: update ontogeny.")

    def __enter__(self) -> "NoteStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def load(
        self,
        dictionary: str,
        latents: Sequence[int] | None = None,
        behaviour: str | None = None,
        author: str | None = None,
    ) -> list[Note]:
        """The notes of a dictionary, the latest change first; of some latents, one behaviour, one author if given."""
        chosen = sql.select(_NOTES).where(_NOTES.c.dictionary == dictionary)
        if behaviour is not None:
            chosen = chosen.where(_NOTES.c.behaviour == behaviour)
        if author is not None:
            chosen = chosen.where(_NOTES.c.author == author)
        wanted = None if latents is None else {int(latent) for latent in latents}
        with _database_errors(self.url), self._engine.connect() as connection:
            rows = connection.execute(chosen.order_by(_NOTES.c.changed.desc(), _NOTES.c.latent, _NOTES.c.author))
            found = [_note(row._mapping) for row in rows]
        return [note for note in found if wanted is None or note.latent in wanted]

    def save(self, notes: Iterable[Note]) -> Saved:
        """Keep notes, all or none; one that says what is there already, whoever wrote that, changes nothing.

        A note replaces its author's earlier one about the same latent and behaviour.
        """
        counts = {"new": 0, "changed": 0, "same": 0}
        now = datetime.now(UTC)
        with _database_errors(self.url), self._engine.begin() as connection:
            for note in notes:
                others = connection.execute(
                    sql.select(_NOTES).where(*(_NOTES.c[name] == getattr(note, name) for name in KEY[:3]))
                )
                known = [_note(row._mapping) for row in others]
                own = next((each for each in known if each.author == note.author), None)
                latest = max(known, key=_time, default=None)
                if any(each is not None and each.says == note.says for each in (own, latest)):
                    counts["same"] += 1
                    continue
                values = _row(replace(note, changed=now))
                if own is None:
                    connection.execute(_NOTES.insert().values(values))
                else:
                    connection.execute(_NOTES.update().where(*_is(note)).values(values))
                counts["new" if not known else "changed"] += 1
        return Saved(**counts)

    def remove(self, note: Note) -> bool:
        """Forget an author's note about a latent; whether there was one."""
        with _database_errors(self.url), self._engine.begin() as connection:
            return connection.execute(_NOTES.delete().where(*_is(note))).rowcount > 0


def latest_notes(notes: Iterable[Note]) -> dict[int, Note]:
    """Latent -> the note about it that changed last."""
    found: dict[int, Note] = {}
    for note in sorted(notes, key=_time):
        found[note.latent] = note
    return found


def _time(note: Note) -> tuple[str, str]:
    return ("" if note.changed is None else note.changed.isoformat(), note.author)


def _is(note: Note) -> list[sql.ColumnElement[bool]]:
    return [_NOTES.c[name] == getattr(note, name) for name in KEY]


def _row(note: Note) -> dict[str, Any]:
    assert note.changed is not None, "a note is kept with its time"
    return {**asdict(note), "tags": list(note.tags), "changed": note.changed.isoformat(timespec="microseconds")}


def _note(row: Any) -> Note:
    values = {field.name: row[field.name] for field in fields(Note)}
    return Note(**{**values, "tags": tuple(row["tags"]), "changed": datetime.fromisoformat(row["changed"])})


def _parse_url(text: str) -> URL:
    """The URL, PostgreSQL by psycopg; AnnotationError where it is none."""
    try:
        url = sql.make_url(text)
    except ArgumentError:
        raise AnnotationError(
            f"{text!r} is no database URL; give one like postgresql://user@host/name or sqlite:///notes.sqlite."
        ) from None
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


@contextlib.contextmanager
def _database_errors(url: URL) -> Iterator[None]:
    """Say in one sentence what is wrong with a database, never with its password."""
    place = Path(url.database).parent if url.get_backend_name() == "sqlite" and url.database else None
    if place is not None:
        with disk_errors(place):
            place.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise AnnotationError(
            f"{_shown(url)} needs a driver that is not installed ({error}): pip install 'ontogeny[postgres]' brings "
            "PostgreSQL's."
        ) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0].rstrip(".")
        raise AnnotationError(f"notes at {_shown(url)}: {reason}; is that the right database?") from error
