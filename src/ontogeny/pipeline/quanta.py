"""The quanta stage: which tokens, products of their gradients at some snapshots, their clusters there."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from ontogeny.config import config_identity
from ontogeny.errors import AnalysisError
from ontogeny.pipeline.inputs import Run
from ontogeny.pipeline.losses import Measurement
from ontogeny.quanta.activation_gram import compute_activation_gram
from ontogeny.quanta.curves import correlate_curves
from ontogeny.quanta.gradients.whitening import find_optimizer_state
from ontogeny.quanta.gram import compute_gram
from ontogeny.quanta.gram_files import load_gram, save_gram
from ontogeny.quanta.measured import OWN, TokenClusters, choose_snapshots, clusterer_of
from ontogeny.quanta.sections_config import QuantaConfig
from ontogeny.snapshots.hub import sha256_of
from ontogeny.tokens.corpus import fingerprint_of
from ontogeny.workspace import Artifact, write_bytes

LABELS = "labels.safetensors"


@dataclass(frozen=True)
class Clustering:
    """Clusters of the chosen tokens, opened, and what they lie in; `inputs`: ids of the artifacts by role."""

    clusters: TokenClusters
    artifacts: tuple[Artifact, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)


def cluster(run: Run, measurement: Measurement) -> Clustering:
    """Choose tokens, compare them at every snapshot asked for, cluster them there; what is done is found."""
    config: QuantaConfig = run.section("quanta")
    losses = measurement.losses
    tokens = losses.choose(config)
    if config.n_clusters >= len(tokens):
        raise AnalysisError(
            f"quanta.n_clusters = {config.n_clusters} clusters cannot be made of {len(tokens)} tokens; lower it."
        )
    stage = _Stage(run, config, measurement, tokens)
    falling = losses.own.losses[tokens].mean(axis=0, dtype=np.float64)
    places = choose_snapshots(losses.own.labels, falling, config)
    made = {place: stage.clusters(place) for place in places}
    opened = TokenClusters(
        config,
        tokens,
        losses.documents.locate(tokens)[0],
        tuple(places),
        {place: load_file(artifact.path / LABELS)["labels"] for place, artifact in made.items()},
        stage.similarity,
        {place: state for place in places if (state := stage.optimizer_state(place)) is not None},
    )
    inputs = {f"clusters {losses.own.labels[place]}": artifact.id for place, artifact in made.items()}
    return Clustering(opened, tuple(made.values()), inputs)


@dataclass(frozen=True)
class _Stage:
    """What all snapshots share."""

    run: Run
    config: QuantaConfig
    measurement: Measurement
    tokens: np.ndarray

    def similarity(self, place: int) -> np.ndarray:
        """Cosines [token token] at one snapshot, or the mean of two kinds; pruned products are made again."""
        found = []
        if self.config.kernel != "curves":
            found.append(load_gram(self.gram(place).path).similarity())
        if self.config.compares_curves:
            found.append(correlate_curves(self.measurement.losses.own.losses[self.tokens], self.tokens))
        return found[0] if len(found) == 1 else (found[0] + found[1]) / 2

    def gram(self, place: int) -> Artifact:
        """The products of the chosen tokens' gradients, or activations, at one snapshot."""
        draft = self.run.begin("grams", self._gram_identity(place), {"corpus": self.measurement.text.id})
        if draft.complete:
            return self.run.workspace.find(draft.id, "grams")
        series = self.measurement.series
        label = series.labels[place]
        self.run.reporter.say(f"quanta {label}: products of the {self._compared} of {len(self.tokens):,} tokens")
        state = self.optimizer_state(place)
        if self.config.whitens_by_adam:
            whence = "estimated from the tokens (no optimizer.safetensors)" if state is None else f"from {state}"
            self.run.reporter.say(f"quanta {label}: second moments {whence}")
        model = series.open(place, device=self.run.device)
        documents = self.measurement.documents_for(label)
        scratch = draft.path / "scratch"
        scratch.mkdir(exist_ok=True)
        if self.config.kernel == "activations":
            gram = compute_activation_gram(model, documents, self.tokens, self.config.gram)
        else:
            gram = compute_gram(model, documents, self.tokens, self.config.gram, scratch, state)
        gram.similarity()  # says which token has no gradient, before anything is kept
        save_gram(gram, draft.path)
        shutil.rmtree(scratch)
        summary: dict[str, Any] = {"tokens": len(self.tokens)}
        if gram.sketch_error is not None:
            self.run.reporter.say(f"quanta {label}: {gram.sketch_error}")
            summary |= {"sketch_error": gram.sketch_error.measured, "sketch_foretold": gram.sketch_error.foretold}
        return self.run.finish(draft, snapshot=label, summary=summary)

    @property
    def _compared(self) -> str:
        """What the products are of: gradients serve both kernels with them."""
        return "gradients" if self.config.compares_gradients else self.config.kernel

    def optimizer_state(self, place: int) -> Path | None:
        """Adam's state at a snapshot, where whitening asks for it and there is one; AnalysisError for no such file."""
        if not self.config.whitens_by_adam:
            return None
        series = self.measurement.series
        if self.config.optimizer_states is None:
            folder = Path(series[place].model)
            return find_optimizer_state(folder) if folder.is_dir() else None
        file = Path(self.config.optimizer_states.replace("{label}", series.labels[place])).expanduser()
        if not file.is_file():
            raise AnalysisError(
                f"quanta.optimizer_states: there is no file {file} for snapshot {series.labels[place]}; give its "
                "path with {label} for the snapshot's, or leave the key out to estimate second moments from the tokens."
            )
        return file

    def _gram_identity(self, place: int) -> dict[str, Any]:
        series, state = self.measurement.series, self.optimizer_state(place)
        taken_from = {}
        if state is not None:
            stat = state.stat()
            taken_from = {"optimizer_state": sha256_of(state, stat.st_size, stat.st_mtime_ns)[:12]}
        return {
            "kernel": self._compared,
            **config_identity(self.config.gram),
            **taken_from,
            "tokens": fingerprint_of(self.tokens)[:12],
            "documents": self.measurement.documents_for(series.labels[place]).fingerprint[:12],
            "snapshot": {"identity": series.identity(place), "label": series.labels[place]},
        }

    def clusters(self, place: int) -> Artifact:
        """The cluster of every chosen token at one snapshot.

        The products are not among its inputs but in its identity: they can be pruned, and what rests on them stays.
        """
        label = self.measurement.series.labels[place]
        identity: dict[str, Any] = config_identity(self.config)
        kept = {key: identity[key] for key in ("method", "background", "n_clusters", "n_init", "seed", "kernel")}
        inputs = {"corpus": self.measurement.text.id}
        compares = self.config.kernel != "curves"
        if compares:
            kept["gram"] = self._gram_identity(place)
        else:
            kept["tokens"] = fingerprint_of(self.tokens)[:12]
        if self.config.compares_curves:
            own = f"losses {OWN} "
            inputs |= {role: made for role, made in self.measurement.inputs.items() if role.startswith(own)}
        draft = self.run.begin("clusters", kept, inputs)
        if draft.complete:
            return self.run.workspace.find(draft.id, "clusters")
        gram = self.gram(place) if compares else None
        self.run.reporter.say(f"quanta {label}: {self.config.n_clusters} clusters of {len(self.tokens):,} tokens")
        found = clusterer_of(self.config)(self.similarity(place), [self.config.n_clusters])[self.config.n_clusters]
        write_bytes(draft.path / LABELS, save({"tokens": self.tokens, "labels": found.astype(np.int64)}))
        sizes = np.bincount(found)
        return self.run.finish(
            draft,
            snapshot=label,
            gram=None if gram is None else gram.id,
            seed=self.config.seed,
            summary={"tokens": len(found), "clusters": len(sizes), "largest": int(sizes.max())},
        )
