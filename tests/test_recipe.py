"""Recipes: layers and their origins, misspelt keys, environment, families, and every shipped file."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from ontogeny.cli import app
from ontogeny.errors import ConfigError, OntogenyError, SnapshotError
from ontogeny.quanta.config import TokenChoice
from ontogeny.recipe import Recipe, find_recipe, load_recipe, open_family, parse_overrides, parse_sweep, recipe_folder
from ontogeny.recipe.family import spread
from ontogeny.recipe.keys import environment_names
from ontogeny.recipe.layers import key_lines

SHIPPED = sorted(path.stem for path in recipe_folder().glob("*.toml"))


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """Ten snapshots without weights: a recipe needs only their sizes."""
    for step in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256):
        folder = tmp_path / "family" / f"step{step}"
        folder.mkdir(parents=True)
        sizes = {"num_hidden_layers": 4, "hidden_size": 128, "max_position_embeddings": 128}
        (folder / "config.json").write_text(json.dumps(sizes))
    return tmp_path / "family"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_valid_and_say_what_they_are(name: str) -> None:
    recipe = load_recipe(name, env={})
    assert recipe.name == name
    assert recipe.description
    assert "evaluate" in recipe.stages or "quanta" in recipe.stages


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_fit_a_grown_family(name: str, family: Path) -> None:
    recipe = load_recipe(name, env={}, family=open_family(family))
    assert recipe.family is None
    assert recipe.corpus.context_length <= 128
    assert all(source.kind != "hub" for source in recipe.corpus.sources)
    if recipe.quanta is not None:
        assert recipe.quanta.choice.n_tokens <= 500 and recipe.quanta.n_clusters <= 25
        assert (recipe.corpus.max_tokens_per_document or 0) <= 128
    else:
        assert recipe.training is not None and recipe.training.total_steps <= 400 and recipe.training.lr >= 1e-3
        assert recipe.activations is not None
        assert recipe.dictionary is not None and getattr(recipe.dictionary.activation, "k", 0) <= 32
        assert all(int(point.rpartition(".")[2]) < 4 for point in recipe.activations.hook_points)
    assert any(note.startswith("series") for note in recipe.notes) and "{" not in "".join(recipe.notes[1:])


def test_recipes_of_published_studies_hold_the_published_values() -> None:
    pythia = load_recipe("pythia-160m", env={})
    assert pythia.series.steps is not None and len(pythia.series.steps) == 32
    assert pythia.training is not None and (pythia.training.lr, pythia.training.warmup) == (5e-5, 5000)
    assert pythia.dictionary is not None and pythia.dictionary.aux_k is None
    quanta = load_recipe("quanta-pythia-70m", env={})
    assert quanta.series.steps == (143000,) and quanta.corpus.max_documents == 20_000
    assert quanta.losses is not None and (quanta.losses.split, quanta.losses.max_length) == ("all", 1024)
    assert quanta.quanta is not None and (quanta.quanta.n_clusters, quanta.quanta.method) == (400, "angular")
    assert quanta.quanta.choice == TokenChoice(below=0.1, leave_out=("trigram",), every=50, n_tokens=10_000)
    triplet = load_recipe("pythia-1b-triplet", env={})
    assert triplet.series.steps == (512, 2000, 143000)
    assert triplet.dictionary is not None and triplet.dictionary.n_latents == 16384
    gemma = load_recipe("gemma-2-2b-l1", env={})
    assert gemma.dictionary is not None and gemma.dictionary.sparsity.coefficient == 0.041  # type: ignore[union-attr]


def test_later_layers_win_and_say_where_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(find_recipe("local-family").read_text())
    recipe = load_recipe(
        file,
        [("training.lr", "3e-4"), ("series.steps", "0,64"), ("seed", "7")],
        env={"ONTOGENY_TRAINING_BATCH_SIZE": "77", "ONTOGENY_TRAINING_LR": "1"},
    )
    assert recipe.training is not None
    assert (recipe.training.lr, recipe.training.batch_size, recipe.training.seed) == (3e-4, 77, 7)
    assert recipe.series.steps == (0, 64)
    assert recipe.origin("training.lr") == "command line"
    assert recipe.origin("training.batch_size") == "environment ONTOGENY_TRAINING_BATCH_SIZE"
    assert recipe.origin("training.seed") == "top-level seed (command line)"
    assert recipe.origin("training.clip") == "default"
    line = file.read_text().splitlines().index("steps = 1000") + 1
    assert recipe.origin("training.steps") == f"mine.toml:{line}"
    origins = {key: origin for key, _, origin in recipe.resolved()}
    assert origins["corpus.held_out"].startswith("mine.toml:")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.lrr", "1", "did you mean training.lr?"),
        ("traning.lr", "1", "did you mean training?"),
        ("training.lr", "fast", "'fast'"),
        ("corpus.sources.0.kind", "hubb", "'stdlib'"),
        ("corpus.sources.3.kind", "hub", "numbered from 0"),
        ("dictionary.n_latents", "16", "k = 32"),
        ("activations.hook_points", "resid_pots.2", "resid_pots.2"),
        ("storage.activation", "/mnt", "the kinds are"),
        ("writes", "resid_post.1", "hook_points"),
    ],
)
def test_wrong_values_are_named(key: str, value: str, words: str) -> None:
    with pytest.raises(OntogenyError) as caught:
        load_recipe("demo", [(key, value)], env={})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_misspelt_key_in_a_file_names_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(find_recipe("demo").read_text().replace("batch_size = 1024", "batchsize = 1024"))
    with pytest.raises(ConfigError, match="batch_size"):
        load_recipe(file, env={})


def test_unknown_environment_is_refused_and_other_variables_are_not() -> None:
    with pytest.raises(ConfigError, match="did you mean ONTOGENY_TRAINING_LR"):
        load_recipe("demo", env={"ONTOGENY_TRAINING_LRR": "1"})
    load_recipe("demo", env={"ONTOGENY_WORKSPACE": "/tmp", "HOME": "/root"})


def test_every_key_has_an_environment_name_of_its_own() -> None:
    assert environment_names(Recipe)["ONTOGENY_DICTIONARY_ACTIVATION_K"] == "dictionary.activation.k"


def test_missing_and_broken_files_are_errors_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'pythia-160m'"):
        load_recipe("pythia-160", env={})
    (tmp_path / "torn.toml").write_text("[series\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_recipe(tmp_path / "torn.toml", env={})


def test_a_folder_without_snapshots_is_no_family(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="step0"):
        open_family(tmp_path)


def test_spread_keeps_both_ends() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [9]
    assert spread(3, 8) == [0, 1, 2]


def test_k_shrinks_with_the_width_and_is_said(family: Path) -> None:
    small = open_family(family)
    olmo = load_recipe("olmo-1b-triplet", env={}, family=small)
    assert olmo.dictionary is not None and olmo.training is not None
    # 200 begin as 1,000.
    assert (olmo.dictionary.activation.k, olmo.training.initial_k) == (32, 160)  # type: ignore[attr-defined]
    assert "dictionary.activation.k: 200 → 32" in olmo.notes and "training.initial_k: 1000 → 160" in olmo.notes
    assert olmo.origin("dictionary.activation.k") == f"family {small.name}"
    wider = load_recipe("olmo-1b-triplet", env={}, family=replace(small, d_model=512))
    assert wider.dictionary is not None and wider.dictionary.activation.k == 128  # type: ignore[attr-defined]
    assert not [note for note in load_recipe("demo", env={}, family=small).notes if "activation" in note]
    text = find_recipe("demo").read_text().replace('"batchtopk", k = 32', '"groupmax", k = 300')
    (family / "groups.toml").write_text(text.replace("n_latents = 2048", "n_latents = 3000"))
    groups = load_recipe(family / "groups.toml", env={}, family=small)
    # 32 groups of 3,000 latents would not be equal.
    assert groups.dictionary is not None and groups.dictionary.activation.k == 30  # type: ignore[attr-defined]


def test_a_command_line_value_wins_over_the_family(family: Path) -> None:
    recipe = load_recipe("demo", [("training.steps", "5")], env={}, family=open_family(family))
    assert recipe.training is not None and recipe.training.steps == 5


def test_overrides_and_sweeps_are_parsed() -> None:
    assert parse_overrides(["--a.b", "-1", "--c.d-e=x=y"]) == [("a.b", "-1"), ("c.d_e", "x=y")]
    with pytest.raises(ConfigError, match="lacks a value"):
        parse_overrides(["--a.b"])
    assert parse_sweep(["a=1,2", "b=3"]) == [[("a", "1"), ("b", "3")], [("a", "2"), ("b", "3")]]
    assert parse_sweep([]) == [[]]
    with pytest.raises(ConfigError, match=r"section\.key=a,b"):
        parse_sweep(["a"])


def test_lines_of_keys() -> None:
    assert key_lines('a = 1\n\n[b.c]\n"d" = 2\n') == {"a": 1, "b.c": 3, "b.c.d": 4}


def test_no_table_is_named_like_a_command() -> None:
    assert not set(Recipe.model_fields) & set(app)


@pytest.mark.parametrize("name", SHIPPED)
def test_loading_is_validation_of_the_file(name: str) -> None:
    plain = tomllib.loads(find_recipe(name).read_text().replace('aux_k = "none"\n', ""))
    validated = Recipe.model_validate(plain)
    loaded = load_recipe(name, env={})
    differing = {key for key, value in dict(loaded).items() if value != getattr(validated, key)}
    assert differing <= {"dictionary"}


def test_pairs_in_files_that_are_not_here_become_a_generator_s(family: Path, tmp_path: Path) -> None:
    here = tmp_path / "mine.jsonl"
    here.write_text('{"clean_prefix": "a b", "right": " c", "wrong": " d"}\n')
    file = tmp_path / "mine.toml"
    absent = f'{{ kind = "blimp", path = "{tmp_path}/absent/x.jsonl" }}'
    behaviours = f'behaviours = [{{ kind = "jsonl", path = "{here}" }}, {absent}]'
    file.write_text(f"{find_recipe('local-family').read_text()}\n[analyses.ablation]\n{behaviours}\n")
    recipe = load_recipe(file, env={}, family=open_family(family))
    kept, made = recipe.chosen_analyses["ablation"].behaviours  # type: ignore[attr-defined]
    assert (kept.kind, kept.path, kept.label) == ("jsonl", str(here), "mine")
    assert (made.kind, made.path, made.label) == ("agreement", None, "x")
    assert any(note.startswith("analyses.ablation.behaviours") for note in recipe.notes)
    assert load_recipe(file, env={}).chosen_analyses["ablation"].behaviours[1].kind == "blimp"  # type: ignore[attr-defined]


def test_studies_of_behaviours_hold_the_published_values() -> None:
    for name in ("pythia-1b-triplet", "olmo-1b-triplet", "bloom-1b1-triplet"):
        asked = load_recipe(name, env={}).chosen_analyses
        effects, ablation = asked["indirect_effects"], asked["ablation"]
        values = [getattr(effects, key) for key in ("method", "steps", "rule", "baseline", "skip_first", "scale")]
        assert values == ["ig", 10, "left", "zero", 0, "none"]
        assert ablation.baseline == "zero" and "kept" in ablation.errors  # type: ignore[attr-defined]
        assert {"behaviours", "evolution", "latent_scaling"} <= set(asked)
