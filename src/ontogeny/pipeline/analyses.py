"""The analyze stage: what is asked and not yet answered, one pass over the codes for all of it, one result each."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ontogeny.analyses import ANALYSES, Analysis, AnalysisInputs
from ontogeny.analyses.contract import Need
from ontogeny.config import Config, config_identity
from ontogeny.dictionaries.crosscoder import Crosscoder, load_dictionary
from ontogeny.errors import AnalysisError, ArtifactError, CorpusError, DictionaryError, SnapshotError
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.cache import CodeCache, open_code_cache
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.pipeline.harvest import Harvest
from ontogeny.pipeline.inputs import Run, open_snapshots
from ontogeny.pipeline.made import Made
from ontogeny.recipe.tree import FAMILY_FOLDER, SECTION_OF, Recipe
from ontogeny.results import load_result, save_result
from ontogeny.snapshots.hub import is_local, split_revision
from ontogeny.workspace import Artifact, Draft

REFUSALS = (AnalysisError, CorpusError, DictionaryError, SnapshotError)
"""What an analysis says of its own question. Torn stores, NaNs and full disks concern all: they end the run."""


class AnalysesRefused(AnalysisError):
    """Some analyses were refused; `made`: what the others, and the stages before them, made."""

    def __init__(self, message: str, made: Sequence[Artifact]) -> None:
        super().__init__(message)
        self.made = list(made)

    @classmethod
    def of(cls, refused: Mapping[str, str], made: Sequence[Artifact]) -> "AnalysesRefused":
        """By name of the analysis, why, in one line."""
        reasons = " ".join(f"[analyses.{name}] is refused: {reason}" for name, reason in refused.items())
        return cls(reasons + " The other analyses are kept." * bool(made), made)


@dataclass(frozen=True)
class Question:
    """An analysis that a recipe asks for: its place in the workspace, and the dictionaries that its config names."""

    analysis: Analysis
    config: Config
    draft: Draft
    others: dict[str, Artifact]

    @property
    def name(self) -> str:
        """The analysis's name."""
        return self.analysis.name

    @property
    def asks_codes(self) -> bool:
        """Whether it rests on the pass over the codes."""
        return asks_codes(self.analysis)


def asks_codes(analysis: Analysis) -> bool:
    """Whether an analysis reads the code cache or rides on the pass that makes it."""
    return analysis.ride is not None or "codes" in analysis.needs


def check_analyses(run: Run) -> None:
    """Every file, dictionary and hook point that an analysis will read is there, or its error comes before anything is
    spent."""
    for name, config in run.recipe.chosen_analyses.items():
        analysis = ANALYSES[name]
        if analysis.reads is not None:
            analysis.reads(config)
        for reference in _refers(analysis, config):
            # The recipe's own name means the dictionary that this run makes.
            if reference != run.recipe.name:
                _check_dictionary(run, name, reference)
        known = [] if run.recipe.activations is None else run.recipe.activations.hook_points
        for point in getattr(config, "hook_points", None) or ():
            # Those of another dictionary are known once it is open.
            if point not in known and not _refers(analysis, config):
                raise AnalysisError(
                    f"analyses.{name}.hook_points names {point!r}; the recipe's dictionary has {', '.join(known)}."
                )


def check_tokens(run: Run) -> None:
    """What the snapshots' tokenizer alone shows to be wrong with an analysis ends the run here, before hours are spent.

    What it shows to be weak is a warning. A family that the recipe grows is grown for it.
    """
    asked = {name: config for name, config in run.recipe.chosen_analyses.items() if ANALYSES[name].check is not None}
    if not asked:
        return
    tokenizer = open_snapshots(run).tokenizer
    told: dict[str, list[str]] = {}
    for name, config in asked.items():
        check = ANALYSES[name].check
        assert check is not None, "only these are asked"
        for sentence in check(config, tokenizer):
            told.setdefault(sentence, []).append(name)
    for sentence, names in told.items():
        run.reporter.warn(f"{', '.join(names)}: {sentence}")


def has_tokenizer_here(recipe: Recipe) -> bool:
    """Whether the snapshots and their tokenizer lie on this machine, so that asking it takes no download."""
    series = recipe.series
    if FAMILY_FOLDER in (series.folders or ""):
        return False
    named = (series.tokenizer, series.model, series.base, series.chat)
    return all(is_local(split_revision(each)[0]) for each in named if each is not None)


def _refers(analysis: Analysis, config: Config) -> Sequence[str]:
    return () if analysis.refers is None else analysis.refers(config)


def _check_dictionary(run: Run, analysis: str, reference: str) -> None:
    try:
        run.workspace.find(reference, "dictionaries")
    except ArtifactError as error:
        reason = str(error).removesuffix(".")
        raise ArtifactError(
            f"[analyses.{analysis}] needs another dictionary, but {reason}; run the recipe that makes it first."
        ) from None


def make_analyses(made: Made) -> list[Artifact]:
    """Make every analysis that the recipe asks for and that is not there yet.

    One that is refused does not stop the others: AnalysesRefused comes when they are made.
    """
    run = made.run
    questions = [_ask(made, ANALYSES[name], config) for name, config in run.recipe.chosen_analyses.items()]
    pending = [each for each in questions if not each.draft.complete]
    opened = {each.name: _open(made, each) for each in pending}
    refused: dict[str, str] = {}
    riders = _make_riders(pending, opened, refused)
    pending = [each for each in pending if each.name not in refused]
    if any(each.asks_codes for each in pending):
        opened |= _pass_over_codes(run, made.harvested, made.dictionary, pending, opened, riders)
    for each in pending:
        run.reporter.say(f"analyze: {each.name}")
        with _noting(refused, each.name):
            result = each.analysis.run(opened[each.name], each.config)
            save_result(result, each.draft.path)
            shutil.rmtree(opened[each.name].scratch)
            run.finish(each.draft, analysis=each.name, summary=result.summary)
    kept = [run.workspace.find(each.draft.id, "results") for each in questions if each.name not in refused]
    if refused:
        raise AnalysesRefused.of(refused, kept)
    return kept


@contextlib.contextmanager
def _noting(refused: dict[str, str], name: str) -> Iterator[None]:
    """Note what an analysis refuses, and go on behind it."""
    try:
        yield
    except REFUSALS as error:
        refused[name] = str(error)


def _make_riders(
    pending: list[Question], opened: Mapping[str, AnalysisInputs], refused: dict[str, str]
) -> dict[str, Accumulator]:
    """What goes along on the pass over the codes, by the result's id: a pass goes on only with riders of the same
    configs."""
    riders: dict[str, Accumulator] = {}
    for each in pending:
        if each.analysis.ride is not None:
            with _noting(refused, each.name):
                riders[each.draft.id] = each.analysis.ride(opened[each.name], each.config)
    return riders


def _uses(recipe: Recipe, analysis: Analysis) -> frozenset[Need]:
    """What an analysis needs, and what it wants that the recipe makes."""
    return analysis.needs | {need for need in analysis.wants if getattr(recipe, SECTION_OF[need]) is not None}


def _ask(made: Made, analysis: Analysis, config: Config) -> Question:
    """Settle what a result is made from, and begin it."""
    run, uses = made.run, _uses(made.run.recipe, analysis)
    others = {reference: run.workspace.find(reference, "dictionaries") for reference in _refers(analysis, config)}
    inputs = {"dictionary": made.dictionary.id} if "dictionary" in uses else {}
    if "held_out" in uses:
        inputs |= made.harvested.held_out_inputs
    if "evaluation" in uses and made.evaluation is not None:
        inputs["evaluation"] = made.evaluation.id
    if "losses" in uses:
        inputs |= made.measured.inputs
    if "quanta" in uses:
        inputs |= made.clustered.inputs
    inputs |= {f"dictionary {reference}": artifact.id for reference, artifact in others.items()}
    identity = {"analysis": analysis.name, **config_identity(config)}
    if asks_codes(analysis):
        identity["codes"] = config_identity(run.recipe.codes)
    if analysis.reads is not None:
        identity["files"] = [hashlib.sha256(file.read_bytes()).hexdigest() for file in analysis.reads(config)]
    if not inputs:
        # Of what else tells the snapshots and the text, nothing was made.
        series, _, text = made.text
        inputs["corpus"] = text.id
        identity["snapshots"] = [series.identity(index) for index in range(len(series))]
    return Question(analysis, config, run.begin("results", identity, inputs), others)


def _open(made: Made, question: Question) -> AnalysisInputs:
    scratch = question.draft.path / "scratch"
    scratch.mkdir(exist_ok=True)
    uses = _uses(made.run.recipe, question.analysis)
    series, corpus, _ = made.text
    reads = bool(uses & {"dictionary", "held_out", "codes"})
    return AnalysisInputs(
        maybe_dictionary=load_dictionary(made.dictionary.path) if "dictionary" in uses else None,
        corpus=corpus,
        maybe_held_out=made.harvested.held_out if reads else None,
        series=series,
        evaluation=load_result(made.evaluation.path) if "evaluation" in uses and made.evaluation is not None else None,
        scratch=scratch,
        device=made.run.device,
        others={reference: load_dictionary(artifact.path) for reference, artifact in question.others.items()},
        losses=made.measured.losses if "losses" in uses else None,
        quanta=made.clustered.clusters if "quanta" in uses else None,
    )


def _pass_over_codes(
    run: Run,
    harvested: Harvest,
    dictionary: Artifact,
    pending: list[Question],
    opened: dict[str, AnalysisInputs],
    riders: dict[str, Accumulator],
) -> dict[str, AnalysisInputs]:
    """The inputs of all that rest on the codes, with the cache and with what their riders computed on one pass.

    A cache that is there already spares the encoding, and where nothing rides the pass.
    """
    asking = [each for each in pending if each.asks_codes]
    inputs = {"dictionary": dictionary.id, **harvested.held_out_inputs}
    draft = run.begin("codes", config_identity(run.recipe.codes), inputs)
    cache = open_code_cache(draft.path, dictionary.id) if draft.complete else None
    made = load_dictionary(dictionary.path)
    writer = CodeCacheWriter(draft.path, made, dictionary.id) if cache is None else None
    if riders or writer is not None:
        _travel(run, harvested, made, riders, asking, writer, cache)
    if writer is not None:
        cache = writer.finish()
        run.finish(draft, tokens=cache.n_tokens, pairs=cache.n_pairs)
    return {
        each.name: replace(
            opened[each.name],
            codes=cache,
            accumulated=riders[each.draft.id].compute() if each.draft.id in riders else None,
        )
        for each in asking
    }


def _travel(
    run: Run,
    harvested: Harvest,
    dictionary: Crosscoder,
    riders: dict[str, Accumulator],
    asking: list[Question],
    writer: CodeCacheWriter | None,
    cache: CodeCache | None,
) -> None:
    """Go through the held-out text once; a pass that was cut off goes on."""
    config = run.recipe.codes
    total = min(harvested.held_out.n_rows, config.max_tokens or harvested.held_out.n_rows)
    run.reporter.say(f"analyze: one pass over {total:,} held-out tokens for {', '.join(each.name for each in asking)}")
    scratch = asking[0].draft.path / "scratch" / "pass"
    scratch.mkdir(exist_ok=True)
    with run.reporter.measure("codes", total) as advance:
        run_pass(
            dictionary,
            harvested.held_out,
            riders,
            batch_size=config.batch_size,
            max_tokens=config.max_tokens,
            device=run.device,
            cache=writer,
            codes=cache,
            scratch=scratch,
            on_batch=lambda n_tokens: advance(n_tokens, ""),
        )
