"""Metrics survive a kill, and a tracker's run is taken up again."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ontogeny.errors import ConfigError
from ontogeny.training.config import TrackingConfig
from ontogeny.training.tracking import METRICS_FILE, JsonlTracker, load_metrics, open_tracker


class FakeRun:
    def __init__(self, identity: str) -> None:
        self.id = identity


class FakeTracker(ModuleType):
    """What of wandb is used: init, log, finish."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec(name, None)
        self.inits: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **options: Any) -> FakeRun:
        self.inits.append(options)
        return FakeRun(options.get("id") or f"run{len(self.inits)}")

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


def test_lines_at_or_after_the_resumed_step_go(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / METRICS_FILE)
    for step in (0, 10, 20):
        tracker.log(step, {"train/loss": 1.0})
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 30, "train/lo')
    tracker.rewind(20)
    tracker.log(20, {"train/loss": 2.0})
    assert [line["step"] for line in load_metrics(tmp_path / METRICS_FILE)] == [0, 10, 20]
    assert load_metrics(tmp_path / METRICS_FILE)[-1]["train/loss"] == 2.0


def test_a_number_that_is_none_is_left_out(tmp_path: Path) -> None:
    JsonlTracker(tmp_path / METRICS_FILE).log(0, {"train/fve/step0": float("nan"), "train/loss": 1.0})
    assert json.loads((tmp_path / METRICS_FILE).read_text()) == {"step": 0, "train/loss": 1.0}


@pytest.mark.parametrize("backend", ["wandb", "trackio"])
def test_the_tracker_gets_config_and_metrics(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTracker(backend)
    monkeypatch.setitem(sys.modules, backend, fake)
    config = TrackingConfig(backend=backend, project="p", group="g", tags=("a",), mode="offline")  # type: ignore[arg-type]
    tracker = open_tracker(tmp_path, config, "my-recipe", {"training": {"lr": 1e-3}})
    tracker.log(0, {"train/loss": 3.0})
    tracker.close()
    assert fake.inits[0]["project"] == "p"
    assert fake.inits[0]["name"] == "my-recipe"
    tags = {} if backend == "wandb" else {"tags": ["a"]}
    assert fake.inits[0]["config"] == {"training": {"lr": 1e-3}} | tags
    assert ("tags" in fake.inits[0]) == (backend == "wandb"), "trackio.init has no such parameter"
    assert fake.logged == [(0, {"train/loss": 3.0})]
    assert fake.finished == 1
    assert load_metrics(tmp_path / METRICS_FILE) == [{"step": 0, "train/loss": 3.0}]


def test_a_resumed_run_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTracker("wandb")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = TrackingConfig(backend="wandb", entity="team", tags=("x",), mode="offline")
    open_tracker(tmp_path, config, "name").close()
    open_tracker(tmp_path, config, "name").close()
    assert [options["id"] for options in fake.inits] == [None, "run1"]
    assert fake.inits[1]["mode"] == "offline"
    assert fake.inits[1]["entity"] == "team"
    assert fake.inits[1]["tags"] == ["x"]


def test_a_missing_tracker_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ontogeny\[wandb\]"):
        open_tracker(tmp_path, TrackingConfig(backend="wandb"))
