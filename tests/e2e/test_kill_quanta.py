"""SIGKILL while losses, products and clusters are made: the next call goes on and ends with the same tables."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ontogeny.results import Result, load_result
from ontogeny.workspace import Workspace
from test_pipeline_quanta import QUANTA

CHUNKS = "results/*/scratch/chunk-*.safetensors"
ASSIGNED = {f"analyses.quanta_assigned.{key}": value for key, value in (("n_tokens", "60"), ("chunk", "20"))}


def start(workspace: Path) -> subprocess.Popen[bytes]:
    words = [word for key, value in (QUANTA | ASSIGNED).items() for word in (f"--{key}", value)]
    command = [sys.executable, "-m", "ontogeny.cli", "run", "quanta", "--workspace", str(workspace), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    """SIGKILL as soon as `reached`; a run that ends before is fine too."""
    while process.poll() is None and not reached():
        time.sleep(0.002)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def result(workspace: Path, analysis: str) -> Result:
    results = Workspace(workspace).artifacts("results")
    return load_result(next(each for each in results if each.manifest["analysis"] == analysis).path)


@pytest.mark.slow
def test_killed_runs_end_with_the_same_tables(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait() == 0
    for pattern in ("losses/*/losses.safetensors", "grams/*/scratch/*", "results/*/draft.json", CHUNKS):
        kill_when(start(broken), lambda pattern=pattern: any(broken.glob(pattern)))  # type: ignore[misc]
    assert start(broken).wait() == 0
    for analysis in ("quanta", "quanta_assigned"):
        one, two = result(whole, analysis), result(broken, analysis)
        assert one.summary == two.summary
        for table in one.tables:
            assert table.rows() == two.table(table.name).rows(), (analysis, table.name)
