"""Losses and quanta without a dictionary: what is made, what is found again, what other sizes and bad input give."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from ontogeny.commands.demo import print_story
from ontogeny.commands.listing import find_prunable
from ontogeny.commands.plan import plan
from ontogeny.errors import AnalysisError, ConfigError, OntogenyError, SeriesMismatch
from ontogeny.pipeline import Run, analyze, open_run, run_stages
from ontogeny.pipeline.losses import measure
from ontogeny.pipeline.quanta import cluster
from ontogeny.quanta.measured import TokenClusters
from ontogeny.recipe import load_recipe
from ontogeny.results import Result, load_result
from ontogeny.workspace import Workspace
from test_pipeline import TINY

QUANTA = {
    **{key: value for key, value in TINY.items() if key.startswith("family.")},
    "family.vocab_size": "400",
    "family.context_length": "64",
    "series.steps": "0,2,4",
    "corpus.context_length": "64",
    "corpus.max_tokens": "6000",
    "corpus.max_tokens_per_document": "64",
    "quanta.choice.below": "20",
    "quanta.choice.n_tokens": "60",
    "quanta.n_clusters": "5",
    "quanta.n_init": "2",
    "quanta.n_snapshots": "2",
    "quanta.gram.memory": "0.1",
    "analyses.quanta.draws": "20",
    "analyses.quanta.stability_draws": "3",
    "analyses.quanta.envelope_counts": "5,10,20,40",
    "analyses.quanta.envelope_draws": "2",
    "analyses.loss_curves.draws": "20",
    "analyses.loss_curves.n_listed": "40",
}


def open_quanta(workspace: Path, **overrides: str) -> Run:
    keys = {**QUANTA, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return open_run(load_recipe("quanta", keys.items(), env={}), Workspace(workspace))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("workspace")
    run_stages(open_quanta(workspace))
    return workspace


def cluster_of(run: Run) -> TokenClusters:
    return cluster(run, measure(run)).clusters


def counts(workspace: Path) -> dict[str, int]:
    every = [artifact.kind for artifact in Workspace(workspace).artifacts()]
    return {kind: every.count(kind) for kind in set(every)}


def result(workspace: Path, analysis: str) -> Result:
    found = [each for each in Workspace(workspace).artifacts("results") if each.manifest["analysis"] == analysis]
    return load_result(found[-1].path)


def test_only_what_the_recipe_names_is_made(done: Path) -> None:
    assert counts(done) == {"families": 1, "corpora": 1, "losses": 3, "grams": 2, "clusters": 2, "results": 2}
    for artifact in Workspace(done).artifacts("losses"):
        assert artifact.manifest["parameters"] > 0 and artifact.manifest["summary"]["loss"] > 0


def test_what_is_done_is_found_and_one_more_snapshot_measures_itself_alone(done: Path) -> None:
    before = {artifact.id: artifact.manifest["created"] for artifact in Workspace(done).artifacts()}
    run_stages(open_quanta(done))
    assert {artifact.id: artifact.manifest["created"] for artifact in Workspace(done).artifacts()} == before
    measure(open_quanta(done, series__steps="0,1,2,4"))
    assert counts(done)["losses"] == 4
    assert before.items() <= {each.id: each.manifest["created"] for each in Workspace(done).artifacts()}.items()


def test_the_tables_of_quanta_fit_together(done: Path) -> None:
    found = result(done, "quanta")
    quanta, tokens = found.table("quanta").to_pandas(), found.table("tokens").to_pandas()
    assert quanta["n_tokens"].sum() == len(tokens) == 60 and len(quanta) == found.summary["n_quanta"] <= 5
    assert tokens["quantum"].value_counts().sort_index().tolist() == quanta["n_tokens"].tolist()
    losses, single = found.table("losses").to_pandas(), found.table("token_losses").to_pandas()
    assert len(losses) == 3 * len(quanta) and len(single) == 3 * 60
    mean = single.merge(tokens[["index", "quantum"]]).groupby(["quantum", "snapshot"])["loss"].mean()
    told = losses.set_index(["quantum", "snapshot"])["loss"]
    np.testing.assert_allclose(mean.sort_index(), told.sort_index(), rtol=1e-9)
    assert (losses["loss_low"].dropna() <= losses["loss"][losses["loss_low"].notna()] + 1e-9).all()
    matches = found.table("matches").to_pandas()
    last = matches[matches["to_snapshot"] == found.summary["clustered_at"][-1]]
    assert set(last["quantum"].dropna()) == set(quanta["quantum"])
    assert len(found.table("labels").rows()) == 2 * 60
    assert found.table("envelope").rows()[0]["size"] >= quanta["n_tokens"].max()
    assert all(len(row["before"]) <= 60 and row["token"] for row in found.table("tokens").rows())
    for table in found.tables:
        frame = table.to_pandas()
        assert not frame.select_dtypes("number").isin([np.inf, -np.inf]).any().any(), table.name


def test_the_tables_of_loss_curves_fit_together(done: Path) -> None:
    found, losses = result(done, "loss_curves"), measure(open_quanta(done)).losses
    means = found.table("means").rows()
    assert [row["snapshot"] for row in means] == ["step0", "step2", "step4"]
    for place, row in enumerate(means):
        assert row["loss"] == pytest.approx(float(losses.own.losses[:, place].mean(dtype=np.float64)))
        assert row["loss_low"] < row["loss"] < row["loss_high"] and row["n"] == losses.documents.n_predicted
    densities = found.table("densities").to_pandas()
    width = densities["bin_high"] - densities["bin_low"]
    assert np.allclose((densities["density"] * width).groupby(densities["snapshot"]).sum(), 1)
    tokens = found.table("tokens").to_pandas()
    assert (tokens["kind"] == "listed").sum() == 40
    assert len(found.table("alike").rows()) == 3 * 40


def test_products_that_were_pruned_are_made_again_only_when_asked_for(done: Path) -> None:
    workspace = Workspace(done)
    prunable = [artifact for artifact in find_prunable(workspace) if artifact.kind == "grams"]
    assert len(prunable) == 2
    for artifact in prunable:
        workspace.remove(artifact)
    run_stages(open_quanta(done))
    assert counts(done).get("grams", 0) == 0
    analyze(open_quanta(done, analyses__quanta__seed="1", analyses__quanta__stability_draws="0"))
    assert counts(done)["grams"] == 1
    assert result(done, "quanta").table("quanta").rows()[0]["stability"] is None


def test_clusters_of_loss_curves_need_no_gradients(done: Path) -> None:
    before = counts(done)
    run = open_quanta(done, quanta__kernel="curves", analyses__quanta__stability_draws="0")
    run_stages(run)
    after = counts(done)
    assert after["clusters"] == before["clusters"] + 1 and after.get("grams", 0) == before.get("grams", 0)


def test_gradients_and_loss_curves_together_use_the_products_there_are(done: Path) -> None:
    mean: dict[str, np.ndarray] = {}
    for kernel in ("gradients", "curves", "both"):
        run = open_quanta(done, quanta__kernel=kernel, analyses__quanta__stability_draws="0")
        clusters = cluster(run, measure(run)).clusters
        mean[kernel] = clusters.open_similarity(clusters.last)
    np.testing.assert_allclose(mean["both"], (mean["gradients"] + mean["curves"]) / 2, atol=1e-12)
    assert counts(done)["grams"] <= 2, "at two snapshots, and gradients serve both kernels"


def test_other_sizes_are_measured_on_the_same_tokens(done: Path) -> None:
    family = Workspace(done).artifacts("families")[0].path
    sizes = f'{{"large" = {{folders = "{family}/step*", steps = [1, 4]}}}}'
    run = open_quanta(done, losses__sizes=sizes)
    analyze(run)
    found = result(done, "loss_curves")
    over = {row["over"] for row in found.table("kinds").rows()}
    assert over == {"series", "large", "sizes"}
    assert {row["size"] for row in found.table("means").rows()} == {"series", "large"}
    own, large = measure(run).losses.sizes
    np.testing.assert_array_equal(own.losses[:, -1], large.losses[:, -1])


def test_a_size_of_another_tokenizer_is_refused(done: Path, tmp_path: Path) -> None:
    shutil.copytree(Workspace(done).artifacts("families")[0].path / "step4", tmp_path / "step4")
    file = tmp_path / "step4" / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    del vocabulary["".join(tokenizer["model"]["merges"].pop())]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(SeriesMismatch, match="a tokenizer of 399 tokens and the recipe's series one of 400"):
        measure(open_quanta(done, losses__sizes=f'{{"other" = {{folders = "{tmp_path}/step*"}}}}'))


def test_other_tokens_are_put_to_the_quanta(done: Path) -> None:
    every = {"analyses__quanta_assigned__n_tokens": "80", "analyses__quanta_assigned__draws": "20"}
    analyze(open_quanta(done, **every, analyses__quanta_assigned__min_cosine="-1"))
    found, measured = result(done, "quanta_assigned"), measure(open_quanta(done)).losses
    clustered = {row["index"] for row in result(done, "quanta").table("tokens").rows()}
    assigned, quanta = found.table("assignments").to_pandas(), found.table("quanta").to_pandas()
    assert len(assigned) == 80 == found.summary["n_tokens"] and not clustered & set(assigned["index"])
    assert assigned["quantum"].isna().mean() == pytest.approx(found.summary["unassigned"])
    assert quanta["n_assigned"].sum() == assigned["quantum"].notna().sum()
    np.testing.assert_array_equal(assigned["loss"], measured.own.losses[assigned["index"].to_numpy(), -1])
    assert found.summary["n_landmarks"] == quanta["n_landmarks"][quanta["asked"]].sum()
    assert found.summary["sentences"][0].startswith("Control: held out by document")
    # The same tokens in smaller chunks, with bounds that let all of them in.
    analyze(
        open_quanta(
            done,
            **every,
            analyses__quanta_assigned__chunk="30",
            analyses__quanta_assigned__min_cosine="-1",
            analyses__quanta_assigned__min_margin="0",
        )
    )
    all_in = result(done, "quanta_assigned")
    whole = all_in.table("assignments").to_pandas()
    assert (whole["quantum"] == whole["nearest"]).all() and all_in.summary["unassigned"] == 0
    np.testing.assert_array_equal(whole["nearest"], assigned["nearest"])
    np.testing.assert_allclose(whole["cosine"], assigned["cosine"], atol=1e-5)
    losses = all_in.table("losses").to_pandas()
    last = losses[losses["snapshot"] == "step4"].set_index("quantum")["loss"]
    np.testing.assert_allclose(last, whole.groupby("quantum")["loss"].mean(), rtol=1e-6)


def test_second_moments_come_from_the_files_that_a_recipe_names(done: Path, tmp_path: Path) -> None:
    family = Workspace(done).artifacts("families")[0].path
    weights = load_file(family / "step4" / "model.safetensors")
    moments = {f"exp_avg_sq.{name}": np.ones_like(each, dtype=np.float32) for name, each in weights.items()}
    save_file(moments, tmp_path / "step4.safetensors")
    adam = {"quanta__n_snapshots": "1", "quanta__gram__whitening": "adam"}
    named = cluster_of(open_quanta(done, **adam, quanta__optimizer_states=f"{tmp_path}/{{label}}.safetensors"))
    assert {path.name for path in named.optimizer_states.values()} == {"step4.safetensors"}
    estimated = cluster_of(open_quanta(done, **adam))
    assert not estimated.optimizer_states
    plain = cluster_of(open_quanta(done, quanta__n_snapshots="1"))
    # Even moments change no cosine, those of the tokens do.
    np.testing.assert_allclose(named.open_similarity(2), plain.open_similarity(2), atol=1e-5)
    assert np.abs(estimated.open_similarity(2) - plain.open_similarity(2)).max() > 0.01


def test_gradients_are_of_the_tokens_that_a_snapshot_reads(done: Path) -> None:
    run = open_quanta(done, quanta__snapshots='["step2", "step4"]')
    measured = measure(run)
    plain = cluster(run, measured).clusters
    document, position = measured.losses.documents.locate(plain.tokens[:1])
    before = int(measured.losses.documents.document(int(document[0]))[position[0] - 1])
    instead = replace(measured.corpus, replacements={"step4": {before: (before + 1) % 400}})
    other = cluster(run, replace(measured, corpus=instead)).clusters
    assert np.array_equal(plain.open_similarity(1), other.open_similarity(1))
    assert np.abs(plain.open_similarity(2) - other.open_similarity(2))[0].max() > 1e-4


def test_the_story_ends_with_the_page_of_quanta(done: Path) -> None:
    console = Console(width=120)
    with console.capture() as told:
        print_story([each for each in Workspace(done).artifacts() if each.kind == "results"], console)
    assert "ontogeny report 'quanta' --clusters" in told.get()


def test_analyses_that_need_no_dictionary_run_without_one(done: Path) -> None:
    analyze(open_quanta(done, analyses__ngrams="{}"))
    ngrams = next(each for each in Workspace(done).artifacts("results") if each.manifest["analysis"] == "ngrams")
    assert set(ngrams.inputs) == {"corpus"} and counts(done).get("activations", 0) == 0


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"quanta__choice__below": "1e-6"}, AnalysisError, "60 tokens were asked for: 0 of"),
        ({"quanta__gram__groups": "unembedding,mlp.gate"}, ConfigError, "quanta.gram.groups"),
        ({"quanta__n_clusters": "60"}, ConfigError, "n_clusters = 60 must be smaller than choice.n_tokens = 60"),
        ({"quanta__chosen_at": "step3"}, AnalysisError, "the series has step0, step2, step4"),
        ({"quanta__optimizer_states": "x"}, ConfigError, 'kernel = "gradients" with gram.whitening = "adam" alone'),
        (
            {"quanta__gram__whitening": "adam", "quanta__optimizer_states": "no/{label}.safetensors"},
            AnalysisError,
            r"there is no file no/step\d.safetensors for snapshot step\d",
        ),
        ({"analyses__quanta_assigned__snapshot": "step0"}, AnalysisError, "tokens were clustered at"),
        ({"analyses__quanta_assigned__below": "1e-6"}, AnalysisError, "none is left to assign"),
        (
            {"analyses__quanta_assigned": "{}", "quanta__kernel": "curves", "analyses__quanta__stability_draws": "0"},
            AnalysisError,
            "new tokens are compared by gradients",
        ),
        ({"losses": "none"}, ConfigError, r"\[quanta\] needs \[losses\]"),
        ({"quanta": "none"}, ConfigError, r"\[analyses.quanta\] needs \[quanta\]"),
        ({"analyses__lifetimes": "{}"}, ConfigError, r"\[analyses.lifetimes\] needs \[training\]"),
        ({"corpus__held_out": "0", "losses__split": "held_out"}, OntogenyError, "held_out"),
    ],
)
def test_bad_input_is_one_line(done: Path, overrides: dict[str, str], error: type[OntogenyError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        analyze(open_quanta(done, **overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"quanta__kernel": "curves", "series__steps": "4"}, "need three snapshots and there are 1"),
        ({"quanta__kernel": "both", "series__steps": "0,4"}, "need three snapshots and there are 2"),
        ({"quanta__snapshots": '["step4", "step9"]'}, "quanta.snapshots names 'step9'; the series has step0, step2"),
        ({"quanta__chosen_at": "step3"}, "quanta.chosen_at names 'step3'"),
    ],
)
def test_snapshots_that_quanta_lack_are_said_before_anything_is_spent(
    done: Path, tmp_path: Path, overrides: dict[str, str], words: str
) -> None:
    with pytest.raises(AnalysisError, match=words):
        run_stages(open_quanta(tmp_path, **overrides))
    assert not Workspace(tmp_path).artifacts(), "no family was grown"
    family = Workspace(done).find("quanta", "families").path
    with pytest.raises(AnalysisError, match=words):
        run_stages(open_quanta(tmp_path, **overrides, family="none", series__folders=f"{family}/step*"))
    assert not Workspace(tmp_path).artifacts(), "no text was read and no loss measured"


def test_the_plan_names_both_stages() -> None:
    costs = {cost.stage: cost for cost in plan(load_recipe("quanta-pythia-70m", env={}), 1e11)}
    assert set(costs) == {"losses", "quanta"}
    assert costs["losses"].download > 1e8 and 4e7 < costs["losses"].disk < 5e7
    assert costs["quanta"].seconds > 1800 and costs["quanta"].disk == 5 * 10_000**2 * 4
