"""Commands that make: the demo, a whole run, one stage."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ontogeny.commands.options import OPTIONS, Options, Overrides, RecipeName, open_console, open_runs
from ontogeny.errors import ConfigError

if TYPE_CHECKING:
    from ontogeny.pipeline import Run

# Scripts may say --no-serve, so that no dashboard ever holds them up.
Serve = Annotated[bool, Parameter(negative="--no-serve", show=False)]


def demo(*overrides: Overrides, fast: bool = False, serve: Serve = False, options: Options = OPTIONS) -> None:
    """Grow a small model on this machine and run the whole story on it.

    Parameters
    ----------
    fast
        A smaller model: under a minute instead of some five.
    """
    from ontogeny.pipeline import run_stages

    if serve:
        raise ConfigError("this version has no dashboard; leave out --serve.")
    _make(run_stages, open_runs("demo-fast" if fast else "demo", overrides, options))


def run(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Run all stages that a recipe names; finished ones are skipped, a cut-off one goes on."""
    from ontogeny.pipeline import run_stages

    _make(run_stages, open_runs(recipe, overrides, options))


def grow(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Train the recipe's small model family, with a snapshot at every power of two and then at even steps."""
    _run_stage("grow", recipe, overrides, options)


def harvest(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Store the activations of every snapshot; torn or altered shards are found and redone."""
    from ontogeny.pipeline import harvest as harvest_stage

    for each in open_runs(recipe, overrides, options):
        made = harvest_stage(each, verify=True)
        counts = made.held_out.counts
        names = ", ".join(made.series.labels)
        open_console().print(
            f"{names}: {made.training.n_rows:,} training rows, {counts.kept:,} held-out rows", highlight=False
        )


def train(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Learn the dictionary."""
    _run_stage("train", recipe, overrides, options)


def evaluate(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Judge the dictionary on held-out text."""
    _run_stage("evaluate", recipe, overrides, options)


def analyze(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Make the analyses that the recipe asks for."""
    _run_stage("analyze", recipe, overrides, options)


def _run_stage(name: str, recipe: str, overrides: Sequence[str], options: Options) -> None:
    """One stage of a recipe, with what it needs before it; prints what it made."""
    from ontogeny.pipeline import STAGES

    _make(STAGES[name], open_runs(recipe, overrides, options), lists=True)


def _make(make: Callable[["Run"], Any], runs: Sequence["Run"], lists: bool = False) -> None:
    """Make something of every run and print it; what analyses were refused is the error when all else is made."""
    from ontogeny.commands.demo import print_story
    from ontogeny.pipeline import AnalysesRefused

    refusals: dict[str, None] = {}  # all members of a sweep may be refused for one reason
    for run in runs:
        try:
            made = make(run)
        except AnalysesRefused as refused:
            made = refused.made
            refusals[str(refused)] = None
        artifacts = made if isinstance(made, list) else [made]
        for artifact in artifacts if lists else ():
            open_console().print(f"{artifact.kind} {artifact.id}  {artifact.path}", highlight=False, soft_wrap=True)
        print_story(artifacts, open_console(), run.variant)
    if refusals:
        raise AnalysesRefused(" ".join(refusals), [])
