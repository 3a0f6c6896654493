"""What the stages of a run share: the recipe on this machine, its snapshots, its text."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ontogeny.activations.config import ActivationsConfig
from ontogeny.config import config_identity, content_hash, did_you_mean
from ontogeny.errors import ConfigError, HookPointError
from ontogeny.pipeline.device import choose_device
from ontogeny.progress import Reporter
from ontogeny.quanta.measured import check_snapshots
from ontogeny.recipe import FAMILY_FOLDER, Recipe
from ontogeny.snapshots.grow import grow_family
from ontogeny.snapshots.grow_config import FamilyConfig
from ontogeny.snapshots.selection import choose_steps
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.corpus import Corpus, build_corpus
from ontogeny.types import HookPoint
from ontogeny.workspace import Artifact, Draft, Workspace


@dataclass(frozen=True)
class Run:
    """One execution of a recipe: where its artifacts go, on which device, who is told.

    `variant` says which member of a sweep it is ("k=32"); what all members share keeps the recipe's own name.
    """

    recipe: Recipe
    workspace: Workspace
    device: str
    reporter: Reporter = field(default_factory=Reporter)
    variant: str = ""

    def begin(self, kind: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Draft:
        """The place of one of this run's artifacts."""
        shared = kind in ("families", "corpora", "activations")
        name = self.recipe.name if shared else f"{self.recipe.name} {self.variant}".strip()
        waiting = f"another process is making these {kind}: waiting for it"
        return self.workspace.begin(kind, config, inputs, name, on_wait=lambda: self.reporter.say(waiting))

    def finish(self, draft: Draft, **fields: Any) -> Artifact:
        """Declare an artifact whole, with what every manifest says of its run."""
        return draft.finish(
            device=self.device, threads=torch.get_num_threads(), recipe=self.recipe.model_dump(mode="json"), **fields
        )

    def section(self, name: str) -> Any:
        """A section of the recipe that a stage needs; ConfigError where the recipe has none."""
        section = getattr(self.recipe, name)
        if section is None:
            raise ConfigError(f"recipe {self.recipe.name!r} has no [{name}]; add that table for this command.")
        return section

    @property
    def activations(self) -> ActivationsConfig:
        """`[activations]`, on the run's device unless it names its own."""
        config: ActivationsConfig = self.section("activations")
        if self.recipe.origin("activations.device") == "default" or config.device == "auto":
            return config.model_copy(update={"device": self.device})
        return config


def open_run(recipe: Recipe, workspace: Workspace, reporter: Reporter | None = None, variant: str = "") -> Run:
    """Settle the device and the number of threads; ConfigError where the device isn't there."""
    device = choose_device(recipe.device)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    return Run(recipe, workspace, device, reporter or Reporter(), variant)


def grow(run: Run) -> Artifact:
    """Train the recipe's model family, or find it grown."""
    config: FamilyConfig = run.section("family")
    if run.recipe.origin("family.device") == "default":
        config = config.model_copy(update={"device": run.device})
    if FAMILY_FOLDER in (run.recipe.series.folders or ""):
        _check_before_growing(run)
    draft = run.begin("families", config_identity(config), {})
    if draft.complete:
        return run.workspace.find(draft.id, "families")
    run.reporter.say(f"grow: {config.steps} steps, snapshots at {', '.join(map(str, config.snapshot_steps))}")
    with run.reporter.measure("growing", config.steps) as advance:
        grow_family(config, draft.path, lambda step, loss: advance(step, f"loss {loss:.3f}"))
    return run.finish(draft, snapshots=config.snapshot_steps, tokens_per_step=config.tokens_per_step)


def open_snapshots(run: Run) -> SnapshotSeries:
    """The recipe's series; a family that it names is grown first."""
    config = run.recipe.series
    if config.folders is not None and FAMILY_FOLDER in config.folders:
        family = grow(run)
        update: dict[str, Any] = {"folders": config.folders.replace(FAMILY_FOLDER, str(family.path.resolve()))}
        if config.tokens_per_step is None:
            update["tokens_per_step"] = family.manifest["tokens_per_step"]
        config = config.model_copy(update=update)
    return open_series(config)


def _check_before_growing(run: Run) -> None:
    """What the recipe asks of a family that this family will not have: said before minutes are spent on it.

    HookPointError for a layer that it lacks, AnalysisError for snapshots of the quanta.
    """
    family: FamilyConfig = run.section("family")
    n_layers = family.n_layers
    points = run.recipe.activations.hook_points if run.recipe.activations is not None else ()
    for point in map(HookPoint.parse, points):
        if point.layer is not None and point.layer >= n_layers:
            raise HookPointError(
                f"hook point {point} is out of range: family.n_layers = {n_layers}, so layers 0 to {n_layers - 1}."
            )
    if run.recipe.quanta is not None:
        series, grown = run.recipe.series, family.snapshot_steps
        steps = series.steps or (grown if series.range is None else choose_steps(series.range, grown))
        check_snapshots([f"step{step}" for step in steps], run.recipe.quanta)


def open_text(run: Run, series: SnapshotSeries) -> tuple[Corpus, Artifact]:
    """The recipe's corpus in the series' tokens, built or found; snapshots that disagree on its tokens are refused."""
    for label in run.recipe.corpus.replacements:
        if label not in series.labels:
            known = f"its snapshots are {', '.join(series.labels)}"
            raise ConfigError(
                f"corpus.replacements names {label!r}, which is no snapshot of the series; "
                f"{did_you_mean(label, series.labels, known)}"
            )
    identity = config_identity(run.recipe.corpus)
    text = [_text_identity(source) for source in run.recipe.corpus.sources]
    vocabulary, template = series.tokenizer.get_vocab(), getattr(series.tokenizer, "chat_template", None)
    draft = run.begin("corpora", {**identity, "text": text, "tokenizer": content_hash([vocabulary, template])}, {})
    if not draft.complete:
        run.reporter.say("corpus: reading and tokenizing the text")
    corpus = build_corpus(run.recipe.corpus, series.tokenizer, draft.path)
    if draft.complete:
        return corpus, run.workspace.find(draft.id, "corpora")
    series.check_tokens(np.unique(corpus.tokens[corpus.document >= 0]).tolist(), corpus.replacements)
    return corpus, run.finish(draft, summary=corpus.summary())


def _text_identity(source: TextSourceConfig) -> Any:
    """What tells one state of a text from another: the Python version, or the files' names, sizes and times."""
    if source.kind == "stdlib":
        return sys.version
    if source.path is None:
        return None
    path = Path(source.path).expanduser()
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))) if not path.is_dir() else [path]
    files = [file for place in found for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
