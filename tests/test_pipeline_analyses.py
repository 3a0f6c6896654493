"""The analyze stage: one pass for all riders, a cache that later questions read, and what a killed stage left."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.cli import main
from ontogeny.config import Config
from ontogeny.errors import AnalysisError, ArtifactError, NonFiniteError, OntogenyError
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch
from ontogeny.pipeline import AnalysesRefused, analyze, run_stages
from ontogeny.pipeline import analyses as stage
from ontogeny.results import Column, Result, Table, load_result
from ontogeny.workspace import Workspace
from test_pipeline import open_tiny


class SumConfig(Config):
    """Sums of codes."""

    factor: float = 1.0
    """What sums are multiplied by."""
    other: str | None = None
    """Another dictionary."""


class Sums(Accumulator):
    """The sum of the codes of every latent."""

    updates = 0

    def __init__(self, n_latents: int) -> None:
        self.sums = torch.zeros(n_latents, dtype=torch.float64)

    def update(self, batch: LatentBatch) -> None:
        type(self).updates += 1
        self.sums.index_add_(0, batch.codes.indices, batch.codes.values.double())

    def merge(self, other: "Sums") -> None:
        self.sums += other.sums

    def compute(self) -> np.ndarray:
        return self.sums.numpy()

    def state(self) -> dict[str, Tensor]:
        return {"sums": self.sums}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.sums = state["sums"]


@dataclass
class Seen:
    inputs: AnalysisInputs | None = None


SEEN = Seen()


def run_sums(inputs: AnalysisInputs, config: SumConfig) -> Result:
    SEEN.inputs = inputs
    assert inputs.codes is not None
    tokens, values = inputs.codes.latent(int(np.argmax(inputs.accumulated)))
    assert np.isclose(values.sum(dtype=np.float64), inputs.accumulated.max())
    data = pa.table({"sum": inputs.accumulated * config.factor})
    return Result("sums", (Table("sums", (Column("sum", "1", "sum"),), data),), (), {"tokens": len(tokens)})


def ride_sums(inputs: AnalysisInputs, config: SumConfig) -> Accumulator:
    return Sums(inputs.dictionary.n_latents)


def refer(config: SumConfig) -> list[str]:
    return [config.other] if config.other else []


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make the stage ask for `sums` with a config in place of what the recipe says."""
    needs = frozenset({"dictionary", "held_out", "codes"})
    monkeypatch.setitem(stage.ANALYSES, "sums", Analysis("sums", SumConfig, needs, run_sums, ride_sums, refer))
    Sums.updates = 0

    def asked(config: SumConfig) -> None:
        monkeypatch.setattr("ontogeny.recipe.tree.Recipe.chosen_analyses", property(lambda _: {"sums": config}))

    yield asked


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("workspace")
    run_stages(open_tiny(workspace))
    return workspace


def test_riders_share_one_pass_whose_codes_later_questions_read(
    trained: Path, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(SumConfig())
    (artifact,) = analyze(open_tiny(trained))
    first = load_result(artifact.path).table("sums").to_pandas()["sum"]
    assert Sums.updates > 0 and len(Workspace(trained).artifacts("codes")) == 1
    assert not (artifact.path / "scratch").exists()
    # The second question is answered out of the cache: nothing is encoded any more.
    monkeypatch.setattr("ontogeny.dictionaries.crosscoder.Crosscoder.encode", None)
    ask(SumConfig(factor=2.0))
    (again,) = analyze(open_tiny(trained))
    assert again.id != artifact.id
    assert np.allclose(load_result(again.path).table("sums").to_pandas()["sum"], 2 * first, rtol=0, atol=0)
    updates = Sums.updates
    analyze(open_tiny(trained))
    assert Sums.updates == updates, "what is answered is not asked again"


def test_another_dictionary_is_opened_and_enters_the_id(trained: Path, ask: Any) -> None:
    ask(SumConfig())
    (alone,) = analyze(open_tiny(trained))
    reference = Workspace(trained).artifacts("dictionaries")[0].id
    ask(SumConfig(other=reference))
    (compared,) = analyze(open_tiny(trained))
    assert compared.id != alone.id and compared.inputs[f"dictionary {reference}"] == reference
    assert SEEN.inputs is not None and list(SEEN.inputs.others) == [reference]
    ask(SumConfig(other="nowhere"))
    with pytest.raises(ArtifactError, match="nowhere"):
        analyze(open_tiny(trained))


def test_a_pass_that_was_cut_off_goes_on(trained: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(SumConfig(factor=3.0))

    def break_off(inputs: AnalysisInputs, config: SumConfig) -> Result:
        raise KeyboardInterrupt

    whole = stage.ANALYSES["sums"]
    monkeypatch.setitem(
        stage.ANALYSES, "sums", Analysis("sums", SumConfig, whole.needs, break_off, whole.ride, whole.refers)
    )
    with pytest.raises(KeyboardInterrupt):
        analyze(open_tiny(trained))
    updates = Sums.updates
    monkeypatch.setitem(stage.ANALYSES, "sums", whole)
    (artifact,) = analyze(open_tiny(trained))
    assert Sums.updates == updates, "the pass was done: its sums were saved"
    assert load_result(artifact.path).table("sums").to_pandas()["sum"].sum() > 0


def test_a_file_that_changed_is_another_question(
    trained: Path, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(SumConfig(factor=4.0))
    file = tmp_path / "pairs.jsonl"
    reading = replace(stage.ANALYSES["sums"], reads=lambda _: [file])
    monkeypatch.setitem(stage.ANALYSES, "sums", reading)
    ids = []
    for text in ("one", "one", "two"):
        file.write_text(text)
        ids += [artifact.id for artifact in analyze(open_tiny(trained))]
    assert ids[0] == ids[1] != ids[2]


def test_an_unknown_dictionary_is_refused_before_anything_is_spent(
    ask: Any, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(SumConfig(other="nowhere"))
    empty = replace(open_tiny(trained), workspace=Workspace(tmp_path / "empty"))
    for call in (run_stages, analyze):
        with pytest.raises(
            ArtifactError, match=r"^\[analyses.sums\] needs another dictionary, but .*'nowhere'.*first\.$"
        ):
            call(empty)
    assert empty.workspace.artifacts() == []
    itself = open_tiny(trained)
    ask(SumConfig(other=itself.recipe.name))
    assert analyze(itself), "the dictionary that the run itself makes may be named"


def refuse(error: OntogenyError) -> Any:
    def refuses(inputs: AnalysisInputs, config: SumConfig) -> Any:
        raise error

    return refuses


@pytest.fixture
def ask_three(monkeypatch: pytest.MonkeyPatch, ask: Any) -> Any:
    """Ask for an analysis that is refused and one whose rider is, before `sums`."""
    whole = stage.ANALYSES["sums"]

    def asked(factor: float, error: OntogenyError, in_rider: OntogenyError) -> None:
        refused = replace(whole, name="refused", run=refuse(error))
        no_rider = replace(whole, name="no_rider", ride=refuse(in_rider))
        monkeypatch.setitem(stage.ANALYSES, "refused", refused)
        monkeypatch.setitem(stage.ANALYSES, "no_rider", no_rider)
        configs = dict.fromkeys(("refused", "no_rider", "sums"), SumConfig(factor=factor))
        monkeypatch.setattr("ontogeny.recipe.tree.Recipe.chosen_analyses", property(lambda _: configs))

    return asked


def test_what_is_refused_stops_no_other(
    trained: Path, ask_three: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_three(5.0, AnalysisError("five\nare too few."), AnalysisError("there is no pair."))
    with pytest.raises(AnalysesRefused, match=r"\[analyses\.refused\] is refused: five") as caught:
        analyze(open_tiny(trained))
    (kept,) = caught.value.made
    assert kept.manifest["analysis"] == "sums" and load_result(kept.path).kind == "sums"
    # The whole run's artifacts come with the error too, and the command tells of them.
    with pytest.raises(AnalysesRefused) as caught:
        run_stages(open_tiny(trained))
    assert {each.kind for each in caught.value.made} >= {"dictionaries", "evaluations", "results"}
    runs = [open_tiny(trained), open_tiny(trained)]
    monkeypatch.setattr("ontogeny.cli.making.open_runs", lambda *_: runs)
    with pytest.raises(SystemExit) as stop:
        main(["analyze", "demo-fast"])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out.count(kept.id) >= 2, "the second of a sweep is made too"
    (line,) = (line for line in err.splitlines() if line.startswith("ontogeny: "))
    reasons = "[analyses.no_rider] is refused: there is no pair. [analyses.refused] is refused: five are too few."
    assert line == f"ontogeny: {reasons} The other analyses are kept."


def test_what_concerns_all_ends_the_run(trained: Path, ask_three: Any) -> None:
    ask_three(6.0, NonFiniteError("step2 has NaNs."), AnalysisError("there is no pair."))
    with pytest.raises(NonFiniteError, match="NaNs"):
        analyze(open_tiny(trained))
    assert not [each for each in Workspace(trained).artifacts("results") if each.manifest["config"].get("factor") == 6]
