"""`show`, `figures` and `report` from the command line, with the mistakes that people make."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from ontogeny.cli import main
from ontogeny.commands.demo import print_story
from ontogeny.results import Result, save_result
from ontogeny.results.annotations import FILE, Note, NoteStore, load_notes
from ontogeny.results.gathering import gather_results
from ontogeny.workspace import Workspace
from results.synthetic import fill_workspace, make_results, table


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("workspace")
    fill_workspace(root, make_results(8))
    return Workspace(root)


def run(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main([*arguments, "--workspace", str(workspace.root)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_result_is_shown_as_a_page(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    result = gather_results(workspace, "made-up").results["evolution"]
    code, out, _ = run(capsys, workspace, "show", result.id)
    assert code == 0
    for part in (
        "evolution  made-up",
        "rests on",
        "classes.emergent",
        "the first 8 of 72 rows",
        "(steps)",
        "Births and",
    ):
        assert part in out
    statistics = gather_results(workspace, "made-up").results["statistics"]
    assert " ± " in run(capsys, workspace, "show", statistics.id)[1]


def test_hostile_text_reaches_no_terminal(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    for result in gather_results(workspace, "made-up").results.values():
        out = run(capsys, workspace, "show", result.id)[1]
        assert "\0" not in out and "\u202e" not in out and "\x1b" not in out


def test_json_is_json(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    result = gather_results(workspace, "made-up").results["evolution"]
    shown = json.loads(run(capsys, workspace, "show", result.id, "--json")[1])
    assert shown["id"] == result.id and shown["summary"]["classes"]["emergent"] == 7


def test_figures_of_one_result_and_of_all(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = gather_results(workspace, "made-up").results["statistics"]
    code, out, _ = run(capsys, workspace, "figures", result.id, "--format", "png")
    assert code == 0 and "2 png, 4 csv, 4 tex" in out
    assert len(list((tmp_path / "figures" / result.id).iterdir())) == 10
    run(capsys, workspace, "figures", "made-up", "--format", "svg", "--dest", "all")
    assert {path.name.partition("-")[0] for path in Path("all").iterdir()} == set(make_results(2))


def test_a_report(capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "page.html"
    code, out, _ = run(capsys, workspace, "report", "made-up", "--latents", "1,3-5", "--dest", str(file))
    assert code == 0 and "4 latents" in out
    assert file.read_text(encoding="utf-8").count('class="card"') == 4
    run(capsys, workspace, "report", "made-up", "--top", "3", "--by", "density", "--dest", str(tmp_path))
    assert len(list(tmp_path.glob("report-*.html"))) == 1


def test_a_run_ends_with_where_to_look(workspace: Workspace) -> None:
    console = Console(width=120)
    made = list(gather_results(workspace, "made-up").results.values())
    with console.capture() as told:
        print_story(made, console)
    for artifact in made:
        assert f"ontogeny show {artifact.id}" in told.get()
    assert "ontogeny report 'made-up'" in told.get()


@pytest.mark.parametrize(("firsts", "told"), [(("step0", "step0"), False), (("step0", "step8"), True)])
def test_latents_are_late_or_early_only_where_they_differ(tmp_path: Path, firsts: tuple[str, str], told: bool) -> None:
    words = {"before": "a", "token": "b", "after": "c", "n_tokens": 9, "rank": 0}
    rows = [
        {"which": which, "latent": latent, "first": first, **words}
        for which, latent, first in zip(("latest", "earliest"), (7, 3), firsts)
    ]
    tables = (
        table("live", [{"source": "step0", "live": 2, "born": 2, "gone": 0}]),
        table("extremes", rows),
    )
    summary = {"n_seen": 2, "n_latents": 2, "n_tokens": 9, "live_share": 0.25, "live_in_all": 2, "live_in_one": 0}
    fill_workspace(tmp_path, {"lifetimes": Result("lifetimes", tables, (), summary)})
    console = Console(width=120)
    with console.capture() as said:
        print_story(list(gather_results(Workspace(tmp_path), "made-up").results.values()), console)
    assert ("appear latest" in said.get(), "appear earliest" in said.get()) == (told, told)
    assert "at least 0.25 of its largest. 2 of 2 latents fire" in said.get()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["report", "made-up", "--latents", "8"], "0 to 7"),
        (["report", "made-up", "--latents", "one"], "'one'"),
        (["report", "made-up", "--by", "nothing"], "density"),
        (["report", "made-up", "--top", "0"], "at least 1"),
        (["report", "nobody"], "nobody"),
        (["figures", "nobody"], "nobody"),
        (["figures", "made-up", "--format", "gif"], "gif"),
    ],
)
def test_mistakes_cost_one_line(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, arguments: list[str], word: str
) -> None:
    code, _, err = run(capsys, workspace, *arguments)
    assert code == 2 and word in err and len(err.strip().splitlines()) == 1


def test_a_report_shows_the_notes_of_the_workspace_and_makes_none(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path
) -> None:
    page, file = tmp_path / "page.html", tmp_path / "notes.sqlite"
    asked = ("report", "made-up", "--latents", "1", "--dest", str(page))
    assert run(capsys, workspace, *asked)[0] == 0 and not (workspace.root / FILE).exists()
    url, dictionary = f"sqlite:///{file}", gather_results(workspace, "made-up").dictionary.id
    with NoteStore(url) as store:
        store.save([Note(dictionary, 1, author="Ada", description="nouns in the plural")])
    assert run(capsys, workspace, *asked, "--notes", url)[0] == 0
    assert "nouns in the plural" in page.read_text(encoding="utf-8")
    shutil.copy(file, workspace.root / FILE)
    assert [note.author for note in load_notes(workspace, dictionary)] == ["Ada"]
    (workspace.root / FILE).unlink()


def test_settings_are_told_apart(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    made = [{"kind": "rules", "path": None, "rules": {"facts": 6}, "names": ["a", "b"]}]
    draft = workspace.begin("results", {"modes": ["keep", "ablate"], "given": made, "counts": None}, {}, name="listed")
    save_result(make_results(2)["stability"], draft.path)
    draft.finish(analysis="stability", summary={})
    out = run(capsys, workspace, "show", draft.id)[1]
    assert "modes=[keep, ablate], given=[{kind=rules, rules={…}, names=[a, b]}]" in out and "counts" not in out
