"""The questions that `run.py` asks: name -> what is asked, and a function that answers it in lines of the table."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.timing import Line


@dataclass(frozen=True)
class Question:
    """A question, and the function that answers it; `full` asks for more rounds."""

    text: str
    answer: Callable[[bool], list[Line]]


def answer_by(module: str) -> Callable[[bool], list[Line]]:
    """The `measure(full)` of a module of this folder, which is imported when it is asked."""

    def answer(full: bool) -> list[Line]:
        lines: list[Line] = importlib.import_module(f"benchmarks.{module}").measure(full)
        return lines

    return answer


QUESTIONS = {
    "step": Question("the training step of each activation function, in encoder matmuls", answer_by("step")),
    "peers": Question(
        "the training step against SAELens, sparsify, dictionary-learning and lm-saes", answer_by("peers")
    ),
    "harvest": Question("harvesting against the bare truncated forward", answer_by("harvest")),
    "memory": Question("growth of resident memory in training against what it may take", answer_by("memory")),
    "one_pass": Question("statistics, scaling, evolution and examples against encoding", answer_by("one_pass")),
    "scaling": Question("latent scaling in one pass against the published algorithm", answer_by("scaling")),
    "effects": Question(
        "indirect effects of all latents: cost, memory, exactness, false discoveries", answer_by("effects")
    ),
    "losses": Question("losses of all predicted tokens against the bare forward", answer_by("losses")),
    "gram": Question("products of per-token gradients against the published algorithm", answer_by("gram")),
    "truth": Question(
        "what the whole chain finds of a planted language, of two seeds (some 12 minutes)", answer_by("truth")
    ),
    "reads": Question("shuffled reads of a store against sequential ones", answer_by("reads")),
}
