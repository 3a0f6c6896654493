"""The training step against the peers': same shapes, same data, same threads, one process each, taking turns; CPU
seconds a step.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from benchmarks.environments import PEERS, InstallFailed, install_peer
from benchmarks.timing import Line, Timing, collect_rounds, format_table, ratio

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(__file__).parent / "peer_scripts"

SAE = {"d_model": 512, "n_sources": 1, "n_latents": 8192, "batch": 2048, "k": 32}
CROSSCODER = {"d_model": 256, "n_sources": 8, "n_latents": 4096, "batch": 512, "k": 32}
CASES = {
    "topk": SAE | {"activation": "topk"},
    "batchtopk": SAE | {"activation": "batchtopk"},
    "l1": SAE | {"activation": "l1"},
    "jumprelu": SAE | {"activation": "jumprelu"},
    "batchtopk, 8 sources": CROSSCODER | {"activation": "batchtopk"},
}
OWN_ENVIRONMENT = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What our command line sets for itself beside the quiet waiting that all contestants get; set it outside for all."""
STEPS = 2
"""Steps timed at a stretch: one alone is at the mercy of a page fault or two."""
OURS, DENSE = "ontogeny", "plain dense step"
GOALS = {
    ("topk", "eai-sparsify"): 2.0,
    ("topk", "sae-lens"): 6.0,
    ("l1", "sae-lens"): 1.0,
    ("l1", "dictionary-learning"): 1.0,
    ("jumprelu", "sae-lens"): 1.0,
    ("jumprelu", "dictionary-learning"): 1.0,
    ("batchtopk, 8 sources", DENSE): 3.0,
    ("batchtopk, 8 sources", "lm-saes"): 3.0,
}
"""How many times our CPU seconds a peer's step has to take."""


class WorkerFailed(Exception):
    """A contestant's process ended or answered nothing; the message is the last line it wrote."""


class Worker:
    """A contestant's process, spoken to with one JSON line each way (see peer_scripts/worker.py)."""

    def __init__(self, python: str | Path, script: str, log: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]) if python == sys.executable else "",
            **(OWN_ENVIRONMENT if script == "ontogeny_step.py" else {}),
            "OMP_WAIT_POLICY": "PASSIVE",  # a waiting thread sleeps: spinning would be charged to the contestant
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "disabled",
            "SPARSIFY_DISABLE_TRITON": "1",
        }
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(python), "-W", "ignore", str(SCRIPTS / script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )

    def ask(self, message: dict[str, object]) -> dict[str, object]:
        assert self.process.stdin is not None and self.process.stdout is not None, "the worker was started with pipes"
        if self.process.poll() is None:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                if line.startswith("answer "):  # a package may print what it likes while it is imported
                    return json.loads(line.removeprefix("answer "))
        written = [line for line in self.log.read_text().splitlines() if line.strip()] or ["it wrote nothing"]
        raise WorkerFailed(written[-1])

    def seconds_per_step(self, steps: int) -> float:
        return float(self.ask({"steps": steps})["seconds"]) / steps  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


def measure(full: bool) -> list[Line]:
    """Every case against every peer that has it; a peer that cannot be installed or run is a line with the reason."""
    interpreters: dict[str, tuple[Path | str, str]] = {
        OURS: (sys.executable, "ontogeny_step.py"),
        DENSE: (sys.executable, "dense_step.py"),
    }
    lines: list[Line] = []
    for peer in PEERS:
        try:
            interpreters[peer.name] = (install_peer(peer), peer.script)
        except InstallFailed as reason:
            lines.append(Line("peers", "all", peer.name, reason=f"not installed: {reason}"))
    for case, setting in CASES.items():
        print(f"peers: {case} ...", file=sys.stderr, flush=True)
        answered = measure_case(case, setting, interpreters, rounds=9 if full else 5)
        print(format_table(answered), file=sys.stderr, flush=True)
        lines += answered
    return lines


def measure_case(
    case: str, setting: dict[str, int | str], interpreters: dict[str, tuple[Path | str, str]], rounds: int
) -> list[Line]:
    """One case: all contestants built side by side, timed in turns, each as a multiple of ours."""
    message = {"build": setting | {"threads": torch.get_num_threads(), "seed": 0}}
    lines: list[Line] = []
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clocks = {}
        for name, (python, script) in interpreters.items():
            worker = stack.enter_context(Worker(python, script, logs / script))
            try:
                answer = worker.ask(message)
                if "unsupported" in answer:
                    continue
                worker.seconds_per_step(1)
            except WorkerFailed as reason:
                lines.append(Line("peers", case, name, reason=f"failed: {reason}"))
                continue
            clocks[name] = lambda w=worker: w.seconds_per_step(STEPS)
        timings: dict[str, Timing] = collect_rounds(clocks, rounds)
    return lines + [
        compare(case, name, timing, timings[OURS])
        for name, timing in timings.items()
        if name != OURS and OURS in timings
    ]


def compare(case: str, name: str, timing: Timing, ours: Timing) -> Line:
    goal = next((goal for (of, peer), goal in GOALS.items() if of == case and name.startswith(peer)), None)
    seconds = {name: timing.median, OURS: ours.median}
    return Line("peers", case, f"{name} / ours", ratio(timing, ours), seconds, goal, "at_least")
