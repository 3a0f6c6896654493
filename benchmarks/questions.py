"""The questions that `run.py` asks: name -> what is asked, and a function that answers it in lines of the table."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.timing import Line, Ratio

STEP_GOALS = {"topk": 1.45, "batchtopk": 1.6}
"""The most encoder matmuls that a step may cost."""


@dataclass(frozen=True)
class Question:
    """A question, and the function that answers it; `full` asks for more rounds."""

    text: str
    answer: Callable[[bool], list[Line]]


def answer_step(full: bool) -> list[Line]:
    """Each activation function's step in encoder matmuls (median and quartiles), and aux-k against the step without."""
    step = importlib.import_module("benchmarks.step")
    shape = step.Shape(d_model=512, n_latents=8192, batch=2048, k=32, sources=1)
    lines = []
    for row in step.measure(shape, 15 if full else 5, None):
        ratio = Ratio(row["ratio"], row["ratio_low"], row["ratio_high"])
        seconds = {"step": row["step_ms"] / 1e3, "matmul": row["matmul_ms"] / 1e3}
        lines.append(Line("step", row["step"], "step / matmul", ratio, seconds, STEP_GOALS.get(row["step"])))
    return lines


def answer_by(module: str) -> Callable[[bool], list[Line]]:
    """The `measure(full)` of a module of this folder, which is imported when it is asked."""

    def answer(full: bool) -> list[Line]:
        lines: list[Line] = importlib.import_module(f"benchmarks.{module}").measure(full)
        return lines

    return answer


QUESTIONS = {
    "step": Question("the training step of each activation function, in encoder matmuls", answer_step),
    "peers": Question(
        "the training step against SAELens, sparsify, dictionary-learning and lm-saes", answer_by("peers")
    ),
    "harvest": Question("harvesting against the bare truncated forward", answer_by("harvest")),
    "memory": Question("growth of resident memory in training against what it may take", answer_by("memory")),
    "one_pass": Question("statistics, scaling, evolution and examples against encoding", answer_by("one_pass")),
    "scaling": Question("latent scaling in one pass against the published algorithm", answer_by("scaling")),
    "truth": Question(
        "what the whole chain finds of a planted language, of two seeds (some 12 minutes)", answer_by("truth")
    ),
    "reads": Question("shuffled reads of a store against sequential ones", answer_by("reads")),
}
