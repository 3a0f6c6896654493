"""The losses stage: every snapshot of every series on every predicted token, an artifact a snapshot."""

from dataclasses import dataclass, replace
from typing import Any

from ontogeny.config import config_identity
from ontogeny.errors import SeriesMismatch
from ontogeny.pipeline.inputs import Run, open_snapshots, open_text
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.losses import FILE, measure_snapshot_losses, open_losses
from ontogeny.quanta.measured import OWN, MeasuredLosses, SizeLosses, check_snapshots
from ontogeny.quanta.sections_config import LossesConfig
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.corpus import Corpus
from ontogeny.workspace import Artifact


@dataclass(frozen=True)
class Measurement:
    """Losses of all series, opened, and what they lie in.

    `inputs`: ids of the artifacts by role, for what is made from them.
    """

    series: SnapshotSeries
    corpus: Corpus
    text: Artifact
    losses: MeasuredLosses
    artifacts: tuple[Artifact, ...]
    inputs: dict[str, str]

    def documents_for(self, label: str) -> Documents:
        """The documents as the snapshot of this label must read them."""
        return self.losses.documents.read_by(self.corpus, label)


def measure(run: Run) -> Measurement:
    """Measure or find the losses of every snapshot of the recipe's series and of `[losses.sizes]`.

    AnalysisError, before any is measured, where the recipe's quanta ask for snapshots that the series lacks.
    """
    config: LossesConfig = run.section("losses")
    own = open_snapshots(run)
    if run.recipe.quanta is not None:
        check_snapshots(own.labels, run.recipe.quanta)
    corpus, text = open_text(run, own)
    every = {OWN: own, **{name: open_series(each) for name, each in config.sizes.items()}}
    _check_vocabularies(every)
    length = min(config.max_length, *(_positions(series) for series in every.values()))
    documents = Documents.of_corpus(corpus, length, config.split, config.max_documents)
    stage = _Stage(run, config, corpus, text, documents, length)
    sizes: list[SizeLosses] = []
    artifacts: list[Artifact] = []
    inputs: dict[str, str] = {}
    for name, series in every.items():
        made = [stage.snapshot(series, index) for index in range(len(series))]
        losses = open_losses([each.path / FILE for each in made], series.labels)
        sizes.append(SizeLosses(name, series.snapshots, losses, int(made[-1].manifest["parameters"])))
        artifacts += made
        inputs |= {f"losses {name} {label}": each.id for label, each in zip(series.labels, made, strict=True)}
    return Measurement(own, corpus, text, MeasuredLosses(documents, tuple(sizes)), tuple(artifacts), inputs)


@dataclass(frozen=True)
class _Stage:
    """What all snapshots share."""

    run: Run
    config: LossesConfig
    corpus: Corpus
    text: Artifact
    documents: Documents
    max_length: int

    def snapshot(self, series: SnapshotSeries, index: int) -> Artifact:
        """The losses of one snapshot."""
        label = series.labels[index]
        identity = config_identity(self.config) | {"max_length": self.max_length}
        del identity["sizes"]
        identity["snapshot"] = {"identity": series.identity(index), "label": label}
        draft = self.run.begin("losses", identity, {"corpus": self.text.id})
        if draft.complete:
            return self.run.workspace.find(draft.id, "losses")
        if self.max_length < self.config.max_length and index == 0:
            cut = f"losses: documents are cut to {self.max_length} tokens, all that the models have positions for"
            self.run.reporter.say(cut)
        documents = self.documents.read_by(self.corpus, label)
        opened: list[HookedModel] = []

        def open_model() -> HookedModel:
            opened.append(series.open(index, device=self.run.device))
            return opened[-1]

        with self.run.reporter.measure(f"losses {label}", documents.n_predicted) as advance:
            measure_snapshot_losses(
                open_model, documents, draft.path, label, self.config.batch_tokens, lambda done: advance(done, "")
            )
        model = opened[-1] if opened else open_model()
        return self.run.finish(
            draft,
            snapshot=label,
            parameters=count_parameters(model),
            summary={"tokens": documents.n_predicted, "loss": _mean(draft.path)},
        )


def count_parameters(model: HookedModel) -> int:
    """Parameters without those of embedding and unembedding, by which the published fits go."""
    assert model.architecture is not None, "snapshots are language models"
    outside = [
        parameter
        for path in (model.architecture.token_embedding, model.architecture.unembedding)
        for parameter in model.module.get_submodule(path).parameters()
    ]
    left_out = {id(parameter) for parameter in outside}
    return sum(each.numel() for each in model.module.parameters() if id(each) not in left_out)


def _mean(folder: Any) -> float:
    return float(open_losses([folder / FILE], ["one"])[:, 0].mean(dtype="float64"))


def _positions(series: SnapshotSeries) -> int:
    """Positions that the models were made for."""
    return int(getattr(series.model_configs[0], "max_position_embeddings", None) or 1 << 30)


def _check_vocabularies(every: dict[str, SnapshotSeries]) -> None:
    """SeriesMismatch if a series has another tokenizer than the recipe's own."""
    own = every[OWN]
    vocabulary = own.tokenizer.get_vocab()
    for name, series in every.items():
        if name == OWN or series.tokenizer.get_vocab() == vocabulary:
            continue
        last = [replace(each[len(each) - 1], label=label) for label, each in ((OWN, own), (name, series))]
        SnapshotSeries(last, own.config).check_tokens()
        if series.tokenizer.vocab_size != own.tokenizer.vocab_size:
            raise SeriesMismatch(
                f"losses.sizes.{name} has a tokenizer of {series.tokenizer.vocab_size} tokens and the recipe's series "
                f"one of {own.tokenizer.vocab_size}; losses are compared token by token, so give models of one "
                "tokenizer."
            )
