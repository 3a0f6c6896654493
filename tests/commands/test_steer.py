"""`ontogeny steer` on a workspace made by hand: what it prints and writes, and every wrong word as one line."""

import json
from pathlib import Path

import pytest

from interventions.steering.tiny_steerer import POINT, PROMPT, make_dictionary, save_series
from ontogeny.cli import main
from ontogeny.commands.steer import parse_latent
from ontogeny.errors import ConfigError
from ontogeny.interventions.steering.config import load_interventions
from ontogeny.interventions.steering.record import load_steering
from ontogeny.recipe import load_recipe
from ontogeny.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dictionary of two tiny snapshots, made by a recipe, and one that was imported."""
    root = tmp_path_factory.mktemp("steer")
    series = save_series(root / "family")
    file = root / "small.toml"
    file.write_text(
        f"""
        name = "small"
        [series]
        folders = "{root}/family/step*"
        tokenizer = "{root}/family/tokenizer"
        [corpus]
        [activations]
        hook_points = ["{POINT}"]
        """
    )
    recipe = load_recipe(file, env={})
    workspace = Workspace(root / "workspace")
    for name, fields in (("small", {"recipe": recipe.model_dump(mode="json")}), ("foreign", {})):
        draft = workspace.begin("dictionaries", {"name": name}, {}, name)
        make_dictionary(series.labels).save(draft.path)
        draft.finish(sources=series.labels, **fields)
    return workspace.root


def run(capsys: pytest.CaptureFixture[str], workspace: Path, *words: str) -> tuple[int, str, str]:
    code: object = 0
    try:
        main(["steer", *words, "--workspace", str(workspace), "--device", "cpu"])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return int(str(code or 0)), captured.out, captured.err


def test_texts_numbers_and_files(capsys: pytest.CaptureFixture[str], workspace: Path, tmp_path: Path) -> None:
    page, data, kept = tmp_path / "o.md", tmp_path / "o.json", tmp_path / "i.json"
    words = [
        "small",
        PROMPT,
        "--latent",
        "5=+30",
        "--latent",
        "7=x0",
        "--control",
        "--max-tokens",
        "5",
        "--samples",
        "2",
    ]
    code, out, err = run(
        capsys, workspace, *words, "--out", str(page), "--json", str(data), "--save-interventions", str(kept)
    )
    assert code == 0, err
    assert "step8  latent 5: +30" in out and "baseline" in out and "control" in out and "nats" in out
    record = load_steering(data)
    assert record.kinds == ["baseline", "steered", "control"] and record.monitored == (5, 7)
    assert {each.run for each in record.divergences()} == {"steered", "control"}
    assert all(each.se is not None for each in record.divergences())
    text = page.read_text()
    assert PROMPT in text and "| latent 5 |" in text and "KL of control" in text
    assert load_interventions(kept) == record.request.interventions
    code, again, _ = run(
        capsys,
        workspace,
        "small",
        PROMPT,
        "--interventions",
        str(kept),
        "--control",
        "--max-tokens",
        "5",
        "--samples",
        "2",
    )
    assert code == 0 and again == out[: out.index("written to")]


def test_without_interventions_there_is_the_baseline(capsys: pytest.CaptureFixture[str], workspace: Path) -> None:
    code, out, _ = run(capsys, workspace, "small", PROMPT, "--greedy", "--monitor", "0-2", "--max-tokens", "3")
    assert code == 0 and "steered" not in out and "baseline" in out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["small", PROMPT, "--latent", "24=+1"], "24, from 0 on"),
        (["small", PROMPT, "--latent", "5"], "12=+8"),
        (["small", PROMPT, "--latent", "5=+2max"], "statistics"),
        (["small", PROMPT, "--snapshot", "step80"], "'step8'"),
        (["small", PROMPT, "--read", "stp0"], "'step0'"),
        (["small", "", "--latent", "5=+1"], "no tokens"),
        (["small", " ".join(["w1"] * 70), "--latent", "5=+1"], "context of 64"),
        (["small", PROMPT, "--interventions", "nowhere.json"], "nowhere.json"),
        (["small", PROMPT, "--monitor", "1-"], "--monitor"),
        (["small", PROMPT, "--samples", "0"], "samples"),
        (["small", PROMPT, "--temperature", "-1"], "temperature"),
        (["small", PROMPT, "--greedy", "--temperature", "0.5"], "contradict"),
        (["small", PROMPT, "--out", "nowhere/o.md"], "no folder"),
        (["small", PROMPT, "--on", "somewhere"], "somewhere"),
        (["small", PROMPT, "--latent", "5=+1", "--at", "resid_post.0"], "no source at hook point resid_post.0"),
        (["small", PROMPT, "--latent", "5=+1", "--at", "resid"], "SITE.LAYER"),
        (["small", PROMPT, "--at", POINT], "--latent"),
        (["small", PROMPT, "--chat"], "no chat template"),
        (["smal", PROMPT], "small"),
        (["foreign", PROMPT], "imported"),
    ],
)
def test_user_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], workspace: Path, words: list[str], hint: str
) -> None:
    code, _, err = run(capsys, workspace, *words)
    assert code == 2 and hint in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("12=+8", {"kind": "add", "strength": 8.0, "unit": "code"}),
        ("12=-1.5max", {"kind": "add", "strength": -1.5, "unit": "max"}),
        ("12=8", {"kind": "set", "strength": 8.0, "unit": "code"}),
        ("12=0.5max", {"kind": "set", "strength": 0.5, "unit": "max"}),
        ("12=x-2", {"kind": "scale", "factor": -2.0}),
        ("12=1e1", {"kind": "set", "strength": 10.0, "unit": "code"}),
        ("12=+1e-3", {"kind": "add", "strength": 1e-3, "unit": "code"}),
        ("12=.5", {"kind": "set", "strength": 0.5, "unit": "code"}),
        ("12=off", {"kind": "remove"}),
    ],
)
def test_strengths_as_words(words: str, expected: dict[str, object]) -> None:
    found = json.loads(parse_latent(words, "prompt").model_dump_json(exclude_none=True))
    assert found == {"on": "prompt", "latents": [12], **expected}
    assert parse_latent(words, "prompt", POINT).model_dump()["hook_point"] == POINT


@pytest.mark.parametrize(
    "words", ["12", "=8", "12=", "12=+", "12=x", "12=8x", "a=8", "12=nan", "12=+inf", "12=max", "-1=8"]
)
def test_what_is_no_strength_is_named(words: str) -> None:
    with pytest.raises(ConfigError, match="--latent"):
        parse_latent(words, "both")
