"""The page in a real browser: no error, no request, no script that is not ours; and all that a person can do there."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from browser import CHROMIUM, Browser
from ontogeny.results.annotations import Note
from ontogeny.results.gathering import gather_results
from ontogeny.results.report import save_report
from ontogeny.results.style import escape_controls
from ontogeny.results.tables import Result
from ontogeny.workspace import Workspace
from results.synthetic import ALERT, CLASSES, HOSTILE, N_LATENTS, SOURCES, fill_workspace, make_results, table

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; scripts/install installs it on Debian")


@pytest.fixture(scope="module")
def page(made_up: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    save_report(gather_results(made_up, "made-up"), path, latents=range(20))
    return path


@pytest.fixture
def browser(page: Path) -> Iterator[Browser]:
    with Browser() as opened:
        opened.open(page.as_uri())
        yield opened
        assert opened.errors == []
        assert opened.requests == [page.as_uri()], "a report asks the network for nothing"


def test_hostile_text_is_inert_in_the_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert ALERT not in text and "\0" not in text and "\u202e" not in text
    scripts = re.findall(r"<script[^>]*>", text)
    assert len(scripts) == text.count("</script>") == 22, "contents, 20 cards, and our own"
    assert "default-src 'none'" in text and "unsafe" not in text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)


def test_a_report_is_the_same_file_twice(page: Path, made_up: Workspace, tmp_path: Path) -> None:
    save_report(gather_results(made_up, "made-up"), tmp_path / "again.html", latents=range(20))
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


@needs_browser
def test_the_card_of_a_latent(browser: Browser) -> None:
    browser.press("2")
    assert browser.ask("document.querySelector('.card h2').textContent") == "Latent 0"
    shown = browser.ask("[...document.querySelectorAll('.card .window .token')].map(node => node.textContent)")
    assert ALERT in shown, "a token that looks like markup is shown as text"
    assert browser.ask("document.querySelectorAll('.card script').length") == 0
    browser.press("j")
    assert browser.ask("location.hash") == "#latent-1"
    assert browser.ask("document.querySelectorAll('.card .picture svg').length") == 4
    browser.press("k")
    assert browser.ask("document.querySelector('.explanation').textContent").startswith("fires on <script>")


@needs_browser
def test_each_hook_point_has_a_curve_of_its_own(tmp_path: Path) -> None:
    sources = [f"step{step}:resid_post.{layer}" for step in (0, 8, 64) for layer in (1, 2)]
    rows = [
        {"latent": 0, "source": source, "step": int(source[4:].partition(":")[0]), "norm": 1.0 + place}
        for place, source in enumerate(sources)
    ]
    scaling = [
        {"latent": 0, "source": source, "probe": sources[1], "nu_error": 0.5, "nu_error_se": 0.1,
         "nu_reconstruction": None, "nu_reconstruction_se": None, "nu_own": 0.7, "nu_own_se": 0.1}
        for source in sources
    ]  # fmt: skip
    population = [{"source": row["source"], "step": row["step"], "live": 1} for row in rows]
    lives = Result("evolution", (table("trajectories", rows, ["latent"]), table("population", population)), (), {})
    probed = Result("latent_scaling", (table("scaling", scaling, ["latent"]),), (), {"missing": []})
    fill_workspace(tmp_path / "workspace", {"evolution": lives, "latent_scaling": probed}, sources)
    path = tmp_path / "report.html"
    save_report(gather_results(Workspace(tmp_path / "workspace"), "made-up"), path)
    with Browser() as opened:
        opened.open(path.as_uri())
        opened.press("2")
        legends = "[...document.querySelectorAll('.side .legend')].map(each => each.innerText.split('\\n').join('|'))"
        assert opened.ask(legends) == ["resid post.1|resid post.2", "ν, its direction|ν, its decoder there"]
        points = (
            "[...document.querySelectorAll('.side .picture svg')].map(each => each.querySelectorAll('circle').length)"
        )
        assert opened.ask(points) == [6 + 1, 2 * 3 + 1], (
            "every source, and those at the probe's hook point; and the mark"
        )
        assert opened.errors == []
        opened.press("1")
        assert "missing" not in opened.ask("document.body.innerText"), "an empty list says nothing"


@needs_browser
def test_what_people_noted_stands_on_the_card(made_up: Workspace, tmp_path: Path) -> None:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    first = Note("", 1, "", f"Ada {ALERT}", f"plural {ALERT}", notes="see\nthe table", bookmarked=True, changed=when)
    second = Note("", 1, "agreement", "", "nouns", "en", "yes", changed=when)
    save_report(gather_results(made_up, "made-up"), tmp_path / "page.html", range(3), notes=[first, second])
    assert ALERT not in (tmp_path / "page.html").read_text(encoding="utf-8")
    with Browser() as browser:
        browser.open((tmp_path / "page.html").as_uri())
        browser.press("2")
        assert browser.ask("document.querySelectorAll('.note').length") == 0, "nobody wrote about latent 0"
        browser.press("j")
        lines = browser.ask("[...document.querySelectorAll('.note > *')].map(node => node.textContent)")
        assert lines[:3] == [f"plural {ALERT}", "see⏎the table", f"★ Ada {ALERT}, 2026-11-21"]
        assert lines[3:] == ["nouns", "languages: en · interpretable: yes", "unnamed, 2026-11-21, on agreement"]
        assert browser.ask("document.querySelector('#list [aria-current=true] .first').textContent") == lines[0]
        assert browser.errors == [] and len(browser.requests) == 1


@needs_browser
def test_every_hostile_token_is_shown_whole(browser: Browser) -> None:
    seen: set[str] = set()
    browser.press("2")
    for _ in range(20):
        seen |= set(browser.ask("[...document.querySelectorAll('.window .marked')].map(node => node.textContent)"))
        browser.press("j")
    assert {escape_controls(token) for token in HOSTILE} <= seen


@needs_browser
def test_snapshots_recolour_the_text(browser: Browser) -> None:
    shares = "[...document.querySelectorAll('.window .token')].map(node => node.style.getPropertyValue('--share'))"
    own = "[...document.querySelectorAll('.window .token')].map(node => node.style.getPropertyValue('--own'))"
    browser.press("2")
    together = browser.ask(shares)
    assert set(browser.ask(own)) == {"0.000"}
    for source in SOURCES:
        browser.press("ArrowRight")
        assert browser.ask("document.querySelector('.bar [aria-checked=true]').dataset.source") == source
    assert browser.ask(shares) != together and set(browser.ask(own)) != {"0.000"}
    browser.ask("document.querySelector('.bar [data-source=step0]').click()")
    assert browser.ask("document.querySelector('.logits').closest('div').parentElement.previousSibling.textContent")
    box = browser.ask("(({x, y}) => [x, y])(document.querySelector('.window .marked').getBoundingClientRect())")
    browser.point(box[0] + 3, box[1] + 3)
    assert "own evidence" in browser.ask("document.getElementById('tip').textContent")


@needs_browser
def test_search_order_tables_and_themes(browser: Browser) -> None:
    browser.press("/")
    for letter in "transient":
        browser.press(letter)
    assert browser.ask("[...document.querySelectorAll('#list b')].map(n => Number(n.textContent) % 6)") == [3, 3, 3]
    browser.ask("document.activeElement.blur()")
    browser.press("4")
    heads = "[...document.querySelectorAll('#tables table')][0].querySelectorAll('th')"
    column = "[...document.querySelector('#tables table').rows].slice(1).map(row => Number(row.cells[3].textContent))"
    browser.ask(f"{heads}[3].querySelector('button').click()")
    values = browser.ask(column)
    assert values == sorted(values, reverse=True) and browser.ask(f"{heads}[3].ariaSort") == "descending"
    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser.ask(ground)
    browser.press("t")
    assert browser.ask(ground) != light


@needs_browser
def test_pictures_and_time(browser: Browser) -> None:
    browser.press("3")
    assert browser.ask("document.querySelectorAll('#pictures figure.picture').length") == 7
    assert (
        browser.ask("[...document.querySelectorAll('#pictures h3')].map(n => n.textContent)")[0]
        == "Decoder norm of latents"
    )
    count = "n => n.querySelectorAll('svg circle:not(.mark)').length"
    marks = f"[...document.querySelectorAll('#pictures figure.picture')].map({count})"
    # Latents' norms, births and deaths, directions, classes, a table; density, and the largest code against it.
    assert browser.ask(marks) == [0, 3 * len(SOURCES), 0, len(CLASSES), 0, 0, N_LATENTS - 1]
    path = "[...document.querySelectorAll('#pictures figure')][0].querySelector('path').getAttribute('d')"
    logarithmic = browser.ask(path)
    browser.press("l")
    assert browser.ask(path) != logarithmic


@needs_browser
@pytest.mark.parametrize("kind", [*make_results(2), "nothing"])
def test_a_report_of_one_analysis_alone(kind: str, tmp_path: Path) -> None:
    results = make_results(6)
    one = {kind: results[kind]} if kind in results else {"population": results["evolution"]}
    fill_workspace(tmp_path / "workspace", one)
    save_report(gather_results(Workspace(tmp_path / "workspace"), "made-up"), tmp_path / "report.html")
    with Browser() as browser:
        browser.open((tmp_path / "report.html").as_uri())
        for key in "1234":
            browser.press(key)
        browser.press("2")
        text = browser.ask("document.body.innerText")
        assert browser.errors == [] and f"[analyses.{'examples' if kind != 'examples' else 'evolution'}]" in text
