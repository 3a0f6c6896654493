"""`annotate` from the command line: out, filled, back, and the mistakes that people make."""

import csv
from pathlib import Path

import pytest

from ontogeny.cli import main
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.results.annotations import NoteStore, open_notes
from ontogeny.workspace import Artifact, Workspace
from results.annotated import SOURCES, save_effects


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def dictionary(workspace: Workspace) -> Artifact:
    """A dictionary of ten latents with its indirect effects."""
    draft = workspace.begin("dictionaries", {}, name="made-up")
    config = CrosscoderConfig.model_validate({"n_latents": 10, "activation": {"kind": "relu"}, "aux_k": None})
    Crosscoder(config, SOURCES, d_model=4).save(draft.path)
    made = draft.finish(sources=list(SOURCES))
    result = workspace.begin("results", {"analysis": "indirect_effects"}, {"dictionary": made.id}, name="made-up")
    save_effects(result.path)
    result.finish(analysis="indirect_effects", summary={})
    return made


def run(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["annotate", *arguments, "--workspace", str(workspace.root)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def fill(sheet: Path, **descriptions: str) -> None:
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["description"] = descriptions.get(f"of_{row['latent']}", "")
        row["interpretable"] = "yes" if row["description"] else ""
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_sheet_goes_out_and_comes_back_as_notes_and_as_the_table(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, dictionary: Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    code, out, err = run(capsys, workspace, "made-up", "--behaviour", "agreement", "--top", "2", "--dest", str(folder))
    assert (code, err) == (0, "") and "2 latents of agreement" in out
    assert (folder / "agreement.html").read_text().startswith("<!doctype html>")
    sheet = folder / "agreement.csv"
    fill(sheet, of_5="plural nouns")
    code, out, _ = run(capsys, workspace, dictionary.id, "--import", str(sheet), "--author", "ann")
    assert code == 0 and "1 new notes, 0 changed, 0 as they were; 1 empty rows" in out and "plural nouns" in out
    assert "plural nouns" in (folder / "agreement-table.tex").read_text()
    before = (folder / "agreement-table.csv").read_bytes()
    code, out, _ = run(capsys, workspace, "made-up", "--import", str(sheet), "--author", "bob")
    assert code == 0 and "0 new notes, 0 changed, 1 as they were" in out
    assert (folder / "agreement-table.csv").read_bytes() == before
    with open_notes(workspace) as notes:
        (note,) = notes.load(dictionary.id)
    assert (note.latent, note.behaviour, note.author, note.description) == (5, "agreement", "ann", "plural nouns")
    run(capsys, workspace, "made-up", "--behaviour", "agreement", "--latents", "5,9", "--dest", str(folder))
    assert "plural nouns" in sheet.read_text(encoding="utf-8-sig"), "what is noted goes out again"


def test_a_team_keeps_notes_elsewhere(
    capsys: pytest.CaptureFixture[str],
    workspace: Workspace,
    dictionary: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONTOGENY_NOTES", f"sqlite:///{tmp_path / 'team.sqlite'}")
    assert run(capsys, workspace, "made-up", "--behaviour", "ioi", "--each", "--top", "1")[0] == 0
    sheet = Path(f"annotations-{dictionary.id}") / "ioi.csv"
    fill(sheet, of_2="names")
    assert run(capsys, workspace, "made-up", "--import", str(sheet))[0] == 0
    with NoteStore(f"sqlite:///{tmp_path / 'team.sqlite'}") as notes:
        assert len(notes.load(dictionary.id, behaviour="ioi")) == 1
    assert not (workspace.root / "notes.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["made-up"], "--behaviour is missing; this result has agreement, ioi"),
        (["made-up", "--behaviour", "agreemnt"], "'agreemnt': there is none; this result has agreement, ioi"),
        (["made-up", "--behaviour", "ioi", "--top", "0"], "--top 0: annotate at least 1"),
        (["made-up", "--behaviour", "ioi", "--latents", "3,10"], "no latent 10: this dictionary has 10, from 0 on"),
        (["made-up", "--behaviour", "ioi", "--latents", "x"], "give numbers and spans"),
        (["made-up", "--behaviour", "ioi", "--import", "x.csv"], "leave out --behaviour"),
        (["made-up", "--import", "absent.csv"], "absent.csv cannot be read"),
        (["made-up", "--import", "x.csv", "--notes", "nonsense"], "x.csv cannot be read"),
        (["made-up", "--behaviour", "ioi", "--notes", "nonsense"], "'nonsense' is no database URL"),
        (["nothing"], "nothing in"),
    ],
)
def test_mistakes_get_one_line(
    capsys: pytest.CaptureFixture[str],
    workspace: Workspace,
    dictionary: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, workspace, *arguments)
    assert code == 2 and words in err and err.count("\n") == 1


def test_a_dictionary_without_effects_says_how_to_get_them(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, dictionary: Artifact
) -> None:
    workspace.remove(workspace.artifacts("results")[0])
    other = workspace.begin("results", {"analysis": "statistics"}, {"dictionary": dictionary.id}, name="made-up")
    save_effects(other.path)
    other.finish(analysis="statistics", summary={})
    code, _, err = run(capsys, workspace, "made-up")
    assert code == 2 and "add [analyses.indirect_effects]" in err
