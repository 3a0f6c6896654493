"""The train and evaluate stages: a dictionary over the harvested sources, and how good it is on held-out text."""

from ontogeny.config import config_identity
from ontogeny.dictionaries.crosscoder import Crosscoder, load_dictionary
from ontogeny.evaluation.evaluate import SpliceSetting
from ontogeny.evaluation.evaluate import evaluate as evaluate_dictionary
from ontogeny.pipeline.harvest import Harvest
from ontogeny.pipeline.inputs import Run
from ontogeny.results import save_result
from ontogeny.training.tracking import open_tracker
from ontogeny.training.trainer import train as train_dictionary
from ontogeny.types import source_names
from ontogeny.workspace import Artifact


def train_on(run: Run, harvested: Harvest) -> Artifact:
    """Learn the recipe's dictionary over the harvested sources, or find it."""
    training, structure = run.section("training"), run.section("dictionary")
    reads, writes = _source_names(harvested, run.recipe.reads), _source_names(harvested, run.recipe.writes)
    config = {
        "dictionary": config_identity(structure),
        "training": config_identity(training),
        "reads": reads,
        "writes": writes,
        "reading": harvested.reading_identity,
    }
    draft = run.begin("dictionaries", config, harvested.inputs)
    if draft.complete:
        return run.workspace.find(draft.id, "dictionaries")
    stream = harvested.training
    run.reporter.say(
        f"train: {structure.activation.kind}, {structure.latents_for(stream.d_model):,} latents over "
        f"{len(stream.sources)} sources, {training.total_steps:,} steps of {training.batch_size:,}"
    )
    crosscoder = Crosscoder(structure, reads or source_names(stream.sources), writes, stream.d_model)
    tracker = open_tracker(draft.path, run.recipe.tracking, run.recipe.name, run.recipe.model_dump(mode="json"))
    summary = train_dictionary(stream, crosscoder, training, draft.path, tracker, run.device, run.reporter)
    dictionary = run.finish(
        draft,
        sources=source_names(stream.sources),
        seed=training.seed,
        summary=summary.metrics,
        training_seconds=summary.seconds,
        resumed_from=summary.resumed_from,
        counts={"rows": stream.counts.rows, "kept": stream.counts.kept, "high_norm": list(stream.counts.high_norm)},
    )
    harvested.discard_training()
    return dictionary


def _source_names(harvested: Harvest, hook_points: tuple[str, ...] | None) -> list[str] | None:
    """Names of the sources at some of the hook points; None for all."""
    if hook_points is None:
        return None
    names = zip(source_names(harvested.sources), harvested.sources, strict=True)
    return [name for name, source in names if str(source.hook_point) in hook_points]


def evaluate_on(run: Run, harvested: Harvest, dictionary: Artifact) -> Artifact:
    """Judge a dictionary on the held-out text, or find its evaluation."""
    config = run.section("evaluation")
    inputs = {"dictionary": dictionary.id, **harvested.held_out_inputs}
    draft = run.begin("evaluations", config_identity(config), inputs)
    if draft.complete:
        return run.workspace.find(draft.id, "evaluations")
    run.reporter.say("evaluate: reconstruction, sparsity, and the splice on held-out text")
    splice = SpliceSetting(harvested.series, harvested.held_out, draft.path / "scratch", harvested.compute_dtype)
    result = evaluate_dictionary(
        load_dictionary(dictionary.path),
        harvested.held_out,
        config,
        corpus=harvested.corpus,
        training=harvested.training if harvested.rereadable else None,
        # A difference is no snapshot's own activation: there is no model to put its reconstruction into.
        splice=splice if config.splice and harvested.config.difference is None else None,
        device=run.device,
    )
    save_result(result, draft.path)
    return run.finish(draft, summary=result.summary, seed=dictionary.manifest.get("seed"))
