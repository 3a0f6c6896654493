"""Pages of quanta: what is in the file, what a browser shows, how large it is."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import CHROMIUM, Browser
from ontogeny.errors import ArtifactError, ConfigError
from ontogeny.results.gathering import gather_results
from ontogeny.results.reader import ResultReader
from ontogeny.results.report import Excerpt, save_quanta, save_report
from ontogeny.results.report.quanta import SAMPLE, compute_quanta
from ontogeny.results.style import escape_controls
from ontogeny.workspace import Workspace
from results.synthetic import ALERT, HOSTILE, N_LATENTS, fill_workspace, make_results
from results.synthetic_quanta import SNAPSHOTS, fill_quanta, make_quanta, make_quanta_latents

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; scripts/install installs it on Debian")


@pytest.fixture(scope="module")
def skills(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("skills")
    return fill_quanta(root, {"quanta": make_quanta(), "quanta_latents": make_quanta_latents()})


@pytest.fixture(scope="module")
def page(skills: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "quanta.html"
    assert save_quanta(gather_results(skills, "skills"), path) == 3
    return path


@pytest.fixture
def browser(page: Path) -> Iterator[Browser]:
    with Browser() as opened:
        opened.open(page.as_uri())
        yield opened
        assert opened.errors == []
        assert opened.requests == [page.as_uri()], "a page of quanta asks the network for nothing"


def _compute(skills: Workspace, excerpt: Excerpt) -> tuple[dict, list[dict]]:
    readers = {kind: ResultReader(each.path) for kind, each in gather_results(skills, "skills").results.items()}
    found = compute_quanta(readers, excerpt)
    assert found is not None
    return found


def test_a_page_holds_what_the_tables_say(skills: Workspace) -> None:
    overview, pages = _compute(skills, Excerpt())
    assert [entry["n_tokens"] for entry in overview["index"]] == [12, 7, 5]
    assert overview["snapshots"] == {"names": list(SNAPSHOTS), "unit": "step", "places": [1, 2, 4, 8, 16, 32]}
    first = pages[0]
    assert len(first["samples"]["rows"]) == first["n_samples"] == 12
    row = dict(zip(SAMPLE, first["samples"]["rows"][0], strict=True))
    texts = [overview["words"][number] for number in row["text"]]
    assert texts[row["at"]] == escape_controls(HOSTILE[0]) and texts[row["at"] + 1] == " after0" and row["at"] == 30
    curves = np.frombuffer(base64.b64decode(first["samples"]["curves"]), np.uint8).reshape(12, len(SNAPSHOTS))
    truth = 8 / (1 + np.arange(6))
    assert np.abs(curves[0] * first["samples"]["unit"] - truth).max() < 8 / 255
    assert first["latents"] == [
        {"latent": 7, "on": "1 of 1", "lift": 3.5, "log_odds": "1 [1, 1]", "q": 1, "half_rise_step": 9.5}
    ]
    assert [link["event"] for link in pages[2]["history"]] == ["birth"]
    assert pages[1]["history"][0]["others"] == 1
    facts = dict(zip([fact["name"] for fact in overview["facts"]], first["facts"], strict=True))
    assert facts["emergence_step"] == "20 [2, 30]" and facts["cohesion"] == "0.1 [0.05, 0.9]"
    assert facts["stability"] == ""


def test_an_excerpt_takes_the_most_central_and_the_nearest(skills: Workspace) -> None:
    overview, pages = _compute(skills, Excerpt(samples=2, before=3, after=0))
    rows = pages[0]["samples"]["rows"]
    assert [row[SAMPLE.index("document")] for row in rows] == [0, 1]
    assert all(len(row[0]) == 4 and row[1] == 3 for row in rows)
    _, whole = _compute(skills, Excerpt())
    assert len(whole[0]["samples"]["rows"][0][0]) == 32
    assert overview["words"] != []


def test_steps_that_are_unknown_leave_snapshots_one_after_the_other(tmp_path: Path) -> None:
    workspace = fill_quanta(tmp_path, {"quanta": make_quanta(steps=False)})
    overview, pages = _compute(workspace, Excerpt())
    assert overview["snapshots"]["unit"] is None and overview["snapshots"]["places"] == list(range(6))
    assert not overview["asked_latents"] and pages[0]["latents"] == []


@pytest.mark.parametrize(("name", "value"), [("samples", 0), ("before", -1), ("after", -2)])
def test_an_excerpt_of_nothing_is_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"--{name} {value}"):
        Excerpt(**{name: value})


def test_without_quanta_there_is_no_page(tmp_path: Path) -> None:
    fill_workspace(tmp_path, {"statistics": make_results()["statistics"]})
    with pytest.raises(ConfigError, match=r"\[analyses.quanta\]"):
        save_quanta(gather_results(Workspace(tmp_path), "made-up"), tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_results_of_no_dictionary_say_so(skills: Workspace) -> None:
    gathered = gather_results(skills, "skills")
    assert gathered.sources == () and list(gathered.results) == ["quanta", "quanta_latents"]
    with pytest.raises(ArtifactError, match="of no dictionary"):
        _ = gathered.dictionary


def test_hostile_text_is_inert_in_the_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert ALERT not in text and "\0" not in text and "\u202e" not in text and "\u2028" not in text
    assert len(re.findall(r"<script[^>]*>", text)) == text.count("</script>") == 5, "contents, 3 pages, and our own"
    for island in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
        json.loads(island)


def test_ten_thousand_tokens_take_a_few_megabytes(tmp_path: Path) -> None:
    """The published sizes: 400 quanta of 10,000 tokens, here each with 70 tokens of context."""
    sizes = tuple(25 for _ in range(400))
    workspace = fill_quanta(tmp_path, {"quanta": make_quanta(sizes, context=70)})
    save_quanta(gather_results(workspace, "skills"), tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size < 6e6


@needs_browser
def test_quanta_turn_by_keys_and_links(browser: Browser) -> None:
    title = "document.querySelector('#quantum h2').textContent"
    assert browser.ask(title) == "Quantum 0" and browser.ask("location.hash") == "#quantum-0"
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.ask(title) == "Quantum 2"
    browser.press("ArrowRight")
    assert browser.ask(title) == "Quantum 2", "the last stays the last"
    browser.press("ArrowLeft")
    assert browser.ask(title) == "Quantum 1"
    browser.ask("document.querySelector('#quantum .near a').click()")
    assert browser.ask("new Promise(done => setTimeout(() => done(location.hash), 50))") == "#quantum-0"
    assert browser.ask(title) == "Quantum 0"
    browser.ask(
        "(() => { const box = document.getElementById('quantum-choice'); box.value = '2';"
        "box.dispatchEvent(new Event('change')); })()"
    )
    assert browser.ask(title) == "Quantum 2"


@needs_browser
def test_tokens_stand_marked_in_their_context(browser: Browser) -> None:
    marked = browser.ask("[...document.querySelectorAll('.sample .predicted')].map(node => node.textContent)")
    assert marked == [escape_controls(HOSTILE[index % len(HOSTILE)]) for index in range(12)]
    assert browser.ask("document.querySelectorAll('.sample svg').length") == 12
    assert browser.ask("document.querySelectorAll('#quantum .picture svg').length") == 1
    assert browser.ask("document.querySelectorAll('#quantum script').length") == 0


@needs_browser
def test_a_search_reads_tokens_and_contexts(browser: Browser) -> None:
    listed = "[...document.querySelectorAll('#quanta-list b')].map(node => node.textContent)"

    def search(text: str) -> list[str]:
        browser.ask(
            f"(() => {{ const box = document.getElementById('search-quanta'); box.value = {json.dumps(text)};"
            "box.dispatchEvent(new Event('input')); })()"
        )
        found: list[str] = browser.ask(listed)
        return found

    assert search("after11") == ["0"] and search("no such text") == [] and "2" in search("2")
    assert search("") == ["0", "1", "2"]
    browser.press("/")
    browser.press("ArrowRight")
    assert browser.ask("location.hash") == "#quantum-0", "while typing, arrows move the cursor"


@needs_browser
def test_quanta_are_ordered_as_asked(browser: Browser) -> None:
    orders = browser.ask("[...document.querySelectorAll('#order-quanta option')].map(node => node.value)")
    assert orders == ["n_tokens", "emergence_step", "cohesion", "stability"]
    for order, expected in {"emergence_step": "210", "cohesion": "210", "stability": "120", "n_tokens": "012"}.items():
        browser.ask(
            f"(() => {{ const box = document.getElementById('order-quanta'); box.value = '{order}';"
            "box.dispatchEvent(new Event('change')); })()"
        )
        assert "".join(browser.ask("[...document.querySelectorAll('#quanta-list b')].map(n => n.textContent)")) == (
            expected
        ), order


@needs_browser
def test_a_report_of_all_has_both(tmp_path: Path) -> None:
    dictionary = fill_workspace(tmp_path, make_results())
    workspace = fill_quanta(tmp_path, {"quanta": make_quanta(), "quanta_latents": make_quanta_latents()}, dictionary)
    save_report(gather_results(workspace, "made-up"), tmp_path / "report.html", latents=range(N_LATENTS))
    with Browser() as opened:
        opened.open((tmp_path / "report.html").as_uri())
        tabs = opened.ask("[...document.querySelectorAll('[role=tab]')].map(node => node.textContent)")
        assert tabs == ["Overview", f"Latents {N_LATENTS}", "Quanta 3", "Pictures", "Tables"]
        opened.press("3")
        opened.ask("document.querySelector('#quantum td a').click()")
        assert opened.ask("new Promise(done => setTimeout(() => done(location.hash), 50))") == "#latent-7"
        assert opened.ask("document.querySelector('#card h2').textContent") == "Latent 7"
        assert opened.errors == []
