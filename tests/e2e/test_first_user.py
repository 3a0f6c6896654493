"""What a first user does from the command line on a family of seconds: sweeps, other recipes, moves, mistakes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from ontogeny.recipe import recipe_folder
from ontogeny.workspace import Workspace
from test_cli import run
from test_pipeline import TINY

KEYS = [word for key, value in TINY.items() for word in (f"--{key}", value)]
SMALL = {
    "corpus.max_tokens": "6000",
    "corpus.max_tokens_per_document": "300",
    "corpus.held_out": "0.3",
    "dictionary.expansion": "none",
    "dictionary.n_latents": "256",
    "training.steps": "3",
    "training.batch_size": "64",
    "evaluation.splice_tokens": "300",
}
SMALL_KEYS = [word for key, value in SMALL.items() for word in (f"--{key}", value)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(autouse=True)
def _workspace(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTOGENY_WORKSPACE", str(place))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def family(place: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(capsys, "grow", "demo-fast", *KEYS)[0] == 0
    return Workspace(place).artifacts("families")[0].path


@pytest.fixture
def speaking(place: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A family to whose tokenizer a verb is one token, as behaviours need it."""
    assert run(capsys, "grow", "demo-fast", *KEYS, "--family.vocab_size", "1024", "--name", "speaking")[0] == 0
    return Workspace(place).find("speaking", "families").path


def assert_refused(capsys: pytest.CaptureFixture[str], hint: str, *words: str) -> None:
    """The error is one line, exit code 2, and names what is wrong; progress before it is no error."""
    code, _, err = run(capsys, *words)
    errors = [line for line in err.splitlines() if line.startswith("ontogeny: ")]
    assert code == 2 and len(errors) == 1 and hint in errors[0] and err.rstrip().endswith(errors[0]), err


def test_a_sweep_shares_one_harvest_and_is_compared(
    capsys: pytest.CaptureFixture[str], place: Path, tmp_path: Path, family: Path
) -> None:
    sweep = ["--sweep", "training.seed=0,1", "--sweep", "dictionary.activation.k=4,8"]
    code, out, err = run(capsys, "run", "demo-fast", *KEYS, *sweep)
    assert code == 0, err
    assert "seed=1 k=4" in out
    workspace = Workspace(place)
    assert len(workspace.artifacts("activations")) == 6 and len(workspace.artifacts("dictionaries")) == 4
    code, out, _ = run(capsys, "compare", "demo-fast", "--plot", str(tmp_path / "picture.png"))
    rows = [line for line in out.splitlines() if "k=" in line]
    assert code == 0 and len(rows) == 2
    assert all(line.count("±") >= 2 for line in rows)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")

    code, out, _ = run(capsys, "list", "--kind", "evaluations", "--where", "training.seed=1", "--sort", "fve")
    assert code == 0 and len(out.strip().splitlines()) == 3
    assert_refused(capsys, "did you mean 'fve'", "list", "--sort", "fvee")
    code, out, _ = run(capsys, "prune")
    assert code == 0 and "6 stores" in out
    identity = workspace.artifacts("dictionaries")[0].id
    assert f'"id": "{identity}"' in run(capsys, "show", identity, "--json")[1]


RECIPES = sorted(path.stem for path in recipe_folder().glob("*.toml"))
PLANTED = [name for name in RECIPES if name.startswith("rules-")]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_language_needs_the_family_that_was_grown_on_it(
    capsys: pytest.CaptureFixture[str], family: Path, name: str
) -> None:
    assert_refused(capsys, "a family grown on the same rules", "run", name, "--family", str(family), *SMALL_KEYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in PLANTED and not name.startswith("quanta")])
def test_every_shipped_recipe_runs_on_a_grown_family(
    capsys: pytest.CaptureFixture[str], speaking: Path, name: str
) -> None:
    if name == "circuits":
        assert run(capsys, "run", "circuits-upstream", "--family", str(speaking), *SMALL_KEYS)[0] == 0
    code, out, err = run(capsys, "run", name, "--family", str(speaking), *SMALL_KEYS)
    assert code == 0, err
    assert "adapted series" in err and "adapted training.steps" not in err
    assert "How well one dictionary explains" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("quanta")])
def test_every_shipped_recipe_of_quanta_runs_on_a_grown_family(
    capsys: pytest.CaptureFixture[str], speaking: Path, name: str
) -> None:
    keys = {key: value for key, value in SMALL.items() if key.startswith("corpus.")}
    # A model of four steps predicts nothing well.
    keys |= {"quanta.choice.below": "20", "quanta.choice.n_tokens": "60", "quanta.n_clusters": "4"}
    words = [word for key, value in keys.items() for word in (f"--{key}", value)]
    code, out, err = run(capsys, "run", name, "--family", str(speaking), *words)
    assert code == 0, err
    assert "adapted series" in err and "quanta" in out


@pytest.mark.parametrize("store", ["memory", "live"])
def test_stores_outside_the_workspace_compute_nothing_for_what_is_done(
    capsys: pytest.CaptureFixture[str], family: Path, store: str
) -> None:
    words = ["run", "demo-fast", *KEYS, "--activations.store", store, "--activations.disk_budget_gb", "0.01"]
    code, _, err = run(capsys, *words)
    assert code == 0, err
    code, out, err = run(capsys, *words)
    assert code == 0 and err == "" and "How well one dictionary explains" in out


def test_a_grown_family_goes_by_its_name(capsys: pytest.CaptureFixture[str], family: Path) -> None:
    code, out, err = run(capsys, "plan", "demo", "--family", "demo-fast")
    assert code == 0 and "harvest" in out and str(family.resolve()) in err
    assert_refused(capsys, "no such folder", "plan", "demo", "--family", str(family / "absent"))


def test_a_dictionary_leaves_and_comes_back(capsys: pytest.CaptureFixture[str], tmp_path: Path, family: Path) -> None:
    words = ["train", "demo-fast", *KEYS, "--name", "mine", "--series.steps", "4"]
    assert run(capsys, *words)[0] == 0
    assert_refused(capsys, "ckkissane", "export", "mine", str(tmp_path / "x"), "--format", "ckkissane")
    for form in ("saelens", "dictionary_learning", "dictionary_learning_crosscoder", "lm_saes"):
        code, _, err = run(capsys, "export", "mine", str(tmp_path / form), "--format", form, "--unit-decoder")
        assert code == 0, err
        code, out, err = run(capsys, "import", str(tmp_path / form), "--name", f"from-{form}")
        assert code == 0 and f"from-{form}" in out, err


def test_a_torn_shard_is_named_and_harvest_redoes_it(
    capsys: pytest.CaptureFixture[str], place: Path, family: Path
) -> None:
    assert run(capsys, "harvest", "demo-fast", *KEYS)[0] == 0
    store = next(
        each for each in Workspace(place).artifacts("activations") if each.manifest["config"]["split"] == "train"
    )
    shard = sorted(store.path.glob("*.safetensors"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:500])
    assert_refused(capsys, f"{store.id}/{shard.name}", "train", "demo-fast", *KEYS, "--training.seed", "7")
    assert run(capsys, "harvest", "demo-fast", *KEYS)[0] == 0
    assert shard.read_bytes() == whole
    assert run(capsys, "train", "demo-fast", *KEYS, "--training.seed", "7")[0] == 0


def test_snapshots_that_cannot_be_used_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, family: Path
) -> None:
    for step in ("step0", "step2", "step4"):
        shutil.copytree(family / step, tmp_path / step)
    words = [*KEYS, "--family", str(tmp_path)]
    assert_refused(capsys, "nearest steps are 0, 2, 4", "harvest", "demo-fast", *words, "--series.steps", "0,3")
    assert_refused(capsys, "layers 0 to 1", "harvest", "demo-fast", *words, "--activations.hook_points", "resid_post.2")

    _, _, err = run(capsys, "harvest", "demo-fast", *words, "--corpus.context_length", "512")
    assert "warning: corpus.context_length = 512" in err

    weights = tmp_path / "step2" / "model.safetensors"
    whole = load_file(weights)
    save_file({name: tensor * np.nan for name, tensor in whole.items()}, weights, {"format": "pt"})
    assert_refused(capsys, "step2 at resid_post", "harvest", "demo-fast", *words)
    save_file(whole, weights, {"format": "pt"})
    assert run(capsys, "harvest", "demo-fast", *words)[0] == 0

    shutil.copy(tmp_path / "step4" / "model.safetensors", weights)
    code, out, _ = run(capsys, "audit", "demo-fast", *words)
    assert code == 2 and "step2, step4 have byte-identical weights" in out
