"""The story: snapshots × text → harvest → train → evaluate → analyze, one function a stage, one artifact each.

Beside it, without activations or a dictionary: losses of tokens → quanta → analyze. Every stage opens its inputs (which
makes those that are missing), calls pure code and writes through the workspace. A stage that is done is skipped; one
that was cut off goes on where it stopped.
"""

from collections.abc import Callable
from typing import Any

from ontogeny.errors import ConfigError
from ontogeny.pipeline.analyses import AnalysesRefused, check_analyses, check_tokens, make_analyses
from ontogeny.pipeline.dictionary import evaluate_on
from ontogeny.pipeline.harvest import harvest
from ontogeny.pipeline.inputs import Run, grow
from ontogeny.pipeline.made import Made
from ontogeny.workspace import Artifact


def measure_losses(run: Run) -> list[Artifact]:
    """Measure every snapshot's loss on every predicted token."""
    return list(Made(run).measured.artifacts)


def cluster_tokens(run: Run) -> list[Artifact]:
    """Compare the tokens that the recipe chooses by the gradients of their losses, and cluster them."""
    return list(Made(run).clustered.artifacts)


def train(run: Run) -> Artifact:
    """Learn the recipe's dictionary over the harvested sources."""
    return Made(run).dictionary


def evaluate(run: Run) -> Artifact:
    """Judge the recipe's dictionary on the held-out text."""
    made = Made(run)
    return evaluate_on(run, made.harvested, made.dictionary)


def analyze(run: Run) -> list[Artifact]:
    """Make every analysis that the recipe asks for, and before that what it rests on.

    AnalysesRefused, with the others' artifacts, where some were refused.
    """
    check_analyses(run)
    check_tokens(run)
    return make_analyses(Made(run))


STAGES: dict[str, Callable[[Run], Any]] = {
    "grow": grow,
    "losses": measure_losses,
    "quanta": cluster_tokens,
    "harvest": harvest,
    "train": train,
    "evaluate": evaluate,
    "analyze": analyze,
}


def run_stages(run: Run) -> list[Artifact]:
    """Everything that the recipe names, in order; the artifacts of the last stages. ConfigError where it names none.

    AnalysesRefused, with all artifacts but those, where some analyses were refused.
    """
    if not run.recipe.stages:
        raise ConfigError(
            f"recipe {run.recipe.name!r} names nothing to make; add a table of a stage, [activations] to begin with."
        )
    check_analyses(run)
    check_tokens(run)
    # Checked once is enough.
    stages = {**STAGES, "analyze": lambda run: make_analyses(Made(run))}
    made: list[Artifact] = []
    for stage in run.recipe.stages:
        try:
            result = stages[stage](run)
        except AnalysesRefused as refused:
            raise AnalysesRefused(str(refused), [*made, *refused.made]) from refused
        made += result if isinstance(result, list) else [result] if isinstance(result, Artifact) else []
    return made
