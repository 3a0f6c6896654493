"""Losses and quanta without a dictionary: what is made, what is found again, what other sizes and bad input give."""

from pathlib import Path

import numpy as np
import pytest

from ontogeny.commands.listing import find_prunable
from ontogeny.commands.plan import plan
from ontogeny.errors import AnalysisError, ConfigError, OntogenyError, SeriesMismatch
from ontogeny.pipeline import Run, analyze, open_run, run_stages
from ontogeny.pipeline.losses import measure
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
    other = open_quanta(tmp_path, family__vocab_size="300")
    measure(other)
    family = Workspace(tmp_path).artifacts("families")[0].path
    with pytest.raises(SeriesMismatch, match="tokenizer"):
        measure(open_quanta(done, losses__sizes=f'{{"other" = {{folders = "{family}/step*"}}}}'))


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


def test_the_plan_names_both_stages() -> None:
    costs = {cost.stage: cost for cost in plan(load_recipe("quanta-pythia-70m", env={}), 1e11)}
    assert set(costs) == {"losses", "quanta"}
    assert costs["losses"].download > 1e8 and 4e7 < costs["losses"].disk < 5e7
    assert costs["quanta"].seconds > 1800 and costs["quanta"].disk == 5 * 10_000**2 * 4
