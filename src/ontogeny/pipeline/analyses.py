"""The analyze stage: what is asked and not yet answered, one pass over the codes for all of it, one result each."""

from dataclasses import dataclass, replace
from typing import Any

from ontogeny.analyses import ANALYSES, Analysis, AnalysisInputs
from ontogeny.config import Config, config_identity
from ontogeny.dictionaries.crosscoder import load_dictionary
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.passes import run_pass
from ontogeny.pipeline.harvest import Harvest
from ontogeny.pipeline.inputs import Run
from ontogeny.results import load_result, save_result
from ontogeny.workspace import Artifact, Draft


@dataclass(frozen=True)
class Question:
    """An analysis that a recipe asks for: its place in the workspace, and the dictionaries that its config names."""

    analysis: Analysis
    config: Config
    draft: Draft
    others: dict[str, Artifact]


def make_analyses(run: Run, harvested: Harvest, dictionary: Artifact, evaluation: Artifact | None) -> list[Artifact]:
    """Make every analysis that the recipe asks for and that is not there yet."""
    questions = [
        _ask(run, harvested, dictionary, evaluation, ANALYSES[name], config)
        for name, config in run.recipe.chosen_analyses.items()
    ]
    pending = [each for each in questions if not each.draft.complete]
    if pending:
        opened = {each.analysis.name: _open(run, harvested, dictionary, evaluation, each) for each in pending}
        accumulated = _ride(run, pending, opened)
        for each in pending:
            name = each.analysis.name
            run.reporter.say(f"analyze: {name}")
            result = each.analysis.run(replace(opened[name], accumulated=accumulated.get(name)), each.config)
            save_result(result, each.draft.path)
            run.finish(each.draft, analysis=name, summary=result.summary)
    return [run.workspace.find(each.draft.id, "results") for each in questions]


def _ask(
    run: Run,
    harvested: Harvest,
    dictionary: Artifact,
    evaluation: Artifact | None,
    analysis: Analysis,
    config: Config,
) -> Question:
    """Settle what a result is made from, and begin it."""
    refers = analysis.refers(config) if analysis.refers is not None else ()
    others = {reference: run.workspace.find(reference, "dictionaries") for reference in refers}
    inputs = {"dictionary": dictionary.id} if "dictionary" in analysis.needs else {}
    if "held_out" in analysis.needs:
        inputs |= harvested.held_out_inputs
    if "evaluation" in analysis.needs and evaluation is not None:
        inputs["evaluation"] = evaluation.id
    inputs |= {f"dictionary {reference}": artifact.id for reference, artifact in others.items()}
    identity = {"analysis": analysis.name, **config_identity(config)}
    if analysis.ride is not None or "codes" in analysis.needs:
        identity["codes"] = config_identity(run.recipe.codes)
    return Question(analysis, config, run.begin("results", identity, inputs), others)


def _open(
    run: Run, harvested: Harvest, dictionary: Artifact, evaluation: Artifact | None, question: Question
) -> AnalysisInputs:
    scratch = question.draft.path / "scratch"
    scratch.mkdir(exist_ok=True)
    return AnalysisInputs(
        dictionary=load_dictionary(dictionary.path),
        corpus=harvested.corpus,
        held_out=harvested.held_out,
        series=harvested.series,
        evaluation=load_result(evaluation.path) if evaluation is not None else None,
        scratch=scratch,
        device=run.device,
        others={reference: load_dictionary(artifact.path) for reference, artifact in question.others.items()},
    )


def _ride(run: Run, pending: list[Question], opened: dict[str, AnalysisInputs]) -> dict[str, Any]:
    """What every rider computed on one pass over the held-out text, by its analysis's name."""
    riders: dict[str, Accumulator] = {
        each.analysis.name: each.analysis.ride(opened[each.analysis.name], each.config)
        for each in pending
        if each.analysis.ride is not None
    }
    if not riders:
        return {}
    inputs, config = opened[next(iter(riders))], run.recipe.codes
    run.reporter.say(f"analyze: one pass over the codes for {', '.join(riders)}")
    total = min(inputs.held_out.n_rows, config.max_tokens or inputs.held_out.n_rows)
    with run.reporter.measure("codes", total) as advance:
        run_pass(
            inputs.dictionary,
            inputs.held_out,
            riders,
            batch_size=config.batch_size,
            max_tokens=config.max_tokens,
            device=run.device,
            on_batch=lambda n_tokens: advance(n_tokens, ""),
        )
    return {name: rider.compute() for name, rider in riders.items()}
