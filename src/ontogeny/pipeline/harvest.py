"""The harvest stage: every snapshot over one token stream, one artifact per source, and the streams they make."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, cast

from ontogeny.activations.config import ActivationsConfig, compute_dtype_of, source_identity
from ontogeny.activations.difference import open_difference
from ontogeny.activations.harvest import ReadableModel, harvest_source
from ontogeny.activations.live import LiveStream
from ontogeny.activations.memory import MemoryWriter, memory_store
from ontogeny.activations.plan import StreamPlan, plan_stream
from ontogeny.activations.sharded import OrderedStore, open_stream
from ontogeny.activations.shards import TORCH_DTYPES, ShardWriter
from ontogeny.activations.stream import ActivationStream
from ontogeny.config import config_identity
from ontogeny.errors import ConfigError
from ontogeny.pipeline.inputs import Run, open_snapshots, open_text
from ontogeny.progress import Advance
from ontogeny.snapshots.audit import audit_series
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint, Source
from ontogeny.workspace import Artifact, Draft

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Harvest:
    """The snapshots, the text, and the activations of both splits.

    `sources`: of both streams, in their order. `open_training` opens the training stream, which with the memory and
    the live store computes it: `training` does so when it is first asked for, and so not for what is done already.
    `discard_training` drops what that left on disk and nobody reads again (the ring of a live store).
    `inputs`, `held_out_inputs`: ids of the artifacts behind the streams, by role, for what is made from them.
    `rereadable`: the training stream can be gone through again (not so the live one, which would harvest anew).
    """

    series: SnapshotSeries
    corpus: Corpus
    config: ActivationsConfig
    sources: tuple[Source, ...]
    open_training: Callable[[], ActivationStream]
    discard_training: Callable[[], None]
    held_out: OrderedStore
    inputs: dict[str, str]
    held_out_inputs: dict[str, str]

    @cached_property
    def training(self) -> ActivationStream:
        """The training stream."""
        return self.open_training()

    @property
    def rereadable(self) -> bool:
        """Whether a second pass over the training stream costs no forward pass."""
        return self.config.store != "live"

    @property
    def compute_dtype(self) -> str:
        """Number format of the forward pass."""
        return compute_dtype_of(self.config)

    @property
    def reading_identity(self) -> dict[str, Any]:
        """What of `[activations]` changes the batches but no byte on disk."""
        keys = ("pool_shards", "high_norm_multiple", "drop_high_norm")
        store = "shards" if self.config.store == "sharded" else self.config.store
        identity = {"store": store, **{key: getattr(self.config, key) for key in keys}}
        return identity if self.config.difference is None else identity | {"difference": self.config.difference}


def harvest(run: Run, verify: bool = False) -> Harvest:
    """Make or find the activations of both splits and open them; `verify` reads every byte of what is there.

    Only what is missing, torn or altered is computed. Warns of what the cheap part of the audit finds.
    """
    config = run.activations
    series = open_snapshots(run)
    series.check_hook_points([HookPoint.parse(point) for point in config.hook_points])
    _warn_of_oddities(run, series)
    _check_length(run, series)
    corpus, text = open_text(run, series)
    stage = _Stage(run, config, series, corpus, text, verify)
    stored = open_stream(
        [artifact.path for artifact in stage.shards("held_out").values()],
        stage.plan("held_out"),
        high_norm_multiple=config.high_norm_multiple,
        drop_high_norm=config.drop_high_norm,
    )
    held_out = stored if config.difference is None else open_difference(stored, *config.difference)
    assert isinstance(held_out, OrderedStore), "the held-out plan is ordered"
    held_out_inputs = {f"held_out {name}": each.id for name, each in stage.shards("held_out").items()}
    inputs = stage.training_inputs()
    sources = stage.sources if config.difference is None else held_out.sources
    return Harvest(
        series,
        corpus,
        config,
        sources,
        stage.open_training,
        stage.discard_training,
        held_out,
        inputs,
        held_out_inputs,
    )


@dataclass
class _Stage:
    """One harvest in the making."""

    run: Run
    config: ActivationsConfig
    series: SnapshotSeries
    corpus: Corpus
    text: Artifact
    verify: bool

    def __post_init__(self) -> None:
        self._shards: dict[Split, dict[str, Artifact]] = {}
        self._ring: Draft | None = None

    def plan(self, split: Split) -> StreamPlan:
        """The written order of a split."""
        layout: Literal["shuffled", "ordered"] = "shuffled" if split == "train" else "ordered"
        return plan_stream(self.corpus, split, self.config.seed, self.config.tokens_per_shard, layout=layout)

    @cached_property
    def points(self) -> list[HookPoint]:
        """The hook points of the recipe."""
        return [HookPoint.parse(point) for point in self.config.hook_points]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every snapshot at every hook point, snapshots outermost."""
        return tuple(Source(snapshot, point) for snapshot in self.series.snapshots for point in self.points)

    def training_inputs(self) -> dict[str, str]:
        """Ids of what the training stream is made from; stores that lie in the workspace are made here."""
        if self.config.store == "sharded":
            return {name: artifact.id for name, artifact in self.shards("train").items()}
        # Nothing of the other two lies there: the held-out artifacts tell the snapshots, the corpus the text.
        return {"corpus": self.text.id, **{name: each.id for name, each in self.shards("held_out").items()}}

    def open_training(self) -> ActivationStream:
        """The training stream of the configured store, or the difference of two of its snapshots."""
        stream = self._open_training()
        if self.config.difference is None:
            return stream
        return open_difference(stream, *self.config.difference)

    def _open_training(self) -> ActivationStream:
        if self.config.store == "memory":
            return self._open_memory()
        if self.config.store == "live":
            return self._open_live()
        return open_stream(
            [artifact.path for artifact in self.shards("train").values()],
            self.plan("train"),
            pool_shards=self.config.pool_shards,
            high_norm_multiple=self.config.high_norm_multiple,
            drop_high_norm=self.config.drop_high_norm,
        )

    def shards(self, split: Split) -> dict[str, Artifact]:
        """Source name -> artifact, snapshots outermost; those that are missing are harvested."""
        if split not in self._shards:
            made: dict[str, Artifact] = {}
            for index in range(len(self.series)):
                made |= self._harvest_snapshot(index, split)
            self._shards[split] = made
        return self._shards[split]

    def _harvest_snapshot(self, index: int, split: Split) -> dict[str, Artifact]:
        """All hook points of one snapshot in one pass."""
        snapshot, plan = self.series[index], self.plan(split)
        identity = self.series.identity(index)
        drafts: dict[HookPoint, Draft] = {}
        writers: dict[HookPoint, ShardWriter] = {}
        # In one order in every process, as each waits for the other's drafts.
        for point in sorted(self.points, key=str):
            config = source_identity(self.config, str(point))
            config |= {"split": split, "snapshot": {"identity": identity, "label": snapshot.label}}
            drafts[point] = self.run.begin("activations", config, {"corpus": self.text.id})
            source = Source(snapshot, point)
            writers[point] = ShardWriter(
                drafts[point].path, source, plan, dtype=self.config.dtype, identity={"snapshot": identity, **config}
            )
        title = f"harvest {snapshot.label} ({split.replace('_', '-')})"
        complete = all(draft.complete for draft in drafts.values())
        if self.verify or not complete:
            with self.run.reporter.measure(title, plan.n_shards) as advance:
                computed = harvest_source(
                    partial(self._open_model, index),
                    plan,
                    writers,
                    model_batch=self.config.model_batch,
                    full_check=self.verify,
                    on_shard=_shown(advance, plan.n_shards),
                )
            if computed:
                self.run.reporter.say(f"{title}: {computed:,} tokens")
        return {
            Source(snapshot, point).name: self.run.workspace.find(drafts[point].id, "activations")
            if drafts[point].complete
            else self.run.finish(drafts[point], source=Source(snapshot, point).name, rows=int(plan.counts.sum()))
            for point in self.points
        }

    def _open_model(self, index: int) -> ReadableModel:
        return cast(ReadableModel, self.series.open(index, self.config.device, compute_dtype_of(self.config)))

    def _open_memory(self) -> ActivationStream:
        """Every training row in memory: for what is small, or read once."""
        writers: list[MemoryWriter] = []
        dtype = TORCH_DTYPES["bfloat16" if self.config.dtype == "bfloat16" else "float32"]
        for index in range(len(self.series)):
            snapshot = self.series[index]
            plan = self.plan("train")
            mine = {point: MemoryWriter(Source(snapshot, point), plan, dtype=dtype) for point in self.points}
            with self.run.reporter.measure(f"harvest {snapshot.label} (train)", plan.n_shards) as advance:
                harvest_source(
                    partial(self._open_model, index),
                    plan,
                    mine,
                    model_batch=self.config.model_batch,
                    on_shard=_shown(advance, plan.n_shards),
                )
            writers += mine.values()
        return memory_store(
            writers, high_norm_multiple=self.config.high_norm_multiple, drop_high_norm=self.config.drop_high_norm
        )

    def discard_training(self) -> None:
        """Delete the ring of a live store: it can hold many GB, and any of it can be harvested again."""
        if self._ring is not None and self._ring.lock is not None:
            shutil.rmtree(self._ring.path)
            self._ring.lock.release()
            self._ring = None

    def _open_live(self) -> ActivationStream:
        config = self.config
        # A ring of shards that come and go: never a whole artifact, held against others and `prune` while this lives.
        self._ring = self.run.begin("activations", {"live": config_identity(config)}, {"corpus": self.text.id})
        return LiveStream(
            self._open_model,
            self.series.snapshots,
            self.points,
            self.plan("train"),
            self._ring.path,
            d_model=self.series.d_model,
            identities=[self.series.identity(index) for index in range(len(self.series))],
            dtype=config.dtype,
            disk_budget_gb=config.disk_budget_gb,
            resident_models=config.resident_models,
            model_batch=config.model_batch,
            pool_shards=config.pool_shards,
            high_norm_multiple=config.high_norm_multiple,
            drop_high_norm=config.drop_high_norm,
        )


def _shown(advance: Advance, n_shards: int) -> Callable[[int, int], None]:
    """Progress over all shards from progress over the pending ones."""
    return lambda done, pending: advance(n_shards - pending + done, "")


def _check_length(run: Run, series: SnapshotSeries) -> None:
    """Warn of rows longer than the models were made for; ConfigError where they have no positions for them at all."""
    asked = run.recipe.corpus.context_length
    model = series.model_configs[0]
    longest = getattr(model, "max_position_embeddings", None)
    if longest is None or asked <= longest:
        return
    told = f"corpus.context_length = {asked}, but {series.labels[0]} was made for {longest} positions"
    if hasattr(model, "n_positions"):  # a table of learned positions ends there
        raise ConfigError(f"{told}; set it to {longest} or less.")
    run.reporter.warn(f"{told}: what it computes beyond them is nothing that it learned")


def _warn_of_oddities(run: Run, series: SnapshotSeries) -> None:
    """Warn of what names and file hashes of the snapshots say (the audit's cheap part)."""
    for finding in audit_series(series, deep=False).findings:
        if finding.severity != "note":
            run.reporter.warn(finding.text)
