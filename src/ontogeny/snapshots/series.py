"""The ordered snapshots of one architecture, opened one at a time."""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ontogeny.errors import HookPointError, SeriesMismatch, SnapshotError
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.hub import is_local, resolve_commit, split_revision, weight_files
from ontogeny.snapshots.load import load_model, load_model_config, load_tokenizer, load_vocabulary
from ontogeny.snapshots.selection import select_snapshots
from ontogeny.types import HookPoint, Snapshot


class SnapshotSeries:
    """Ordered snapshots of one architecture; nothing is downloaded before it is needed.

    `time` is the axis of every plot over training: tokens seen where `tokens_per_step` is given, log2(1 + step) where
    all steps are known, else the place in the series; `time_name` says which.
    """

    def __init__(self, snapshots: Sequence[Snapshot], config: SeriesConfig) -> None:
        if not snapshots:
            raise SnapshotError("the series has no snapshots; name at least one.")
        labels = [snapshot.label for snapshot in snapshots]
        assert len(set(labels)) == len(labels), f"labels are not unique: {labels}"
        self.snapshots = tuple(snapshots)
        self.config = config

    def __len__(self) -> int:
        return len(self.snapshots)

    def __getitem__(self, index: int) -> Snapshot:
        return self.snapshots[index]

    @property
    def labels(self) -> list[str]:
        """The snapshots' names, unique in the series."""
        return [snapshot.label for snapshot in self.snapshots]

    @property
    def steps(self) -> list[int | None]:
        """Optimizer steps; None where neither a name nor the recipe says one."""
        return [snapshot.step for snapshot in self.snapshots]

    @property
    def time_name(self) -> str:
        """What `time` counts: `tokens`, `log2(1 + step)` or `index`."""
        if any(step is None for step in self.steps):
            return "index"
        return "log2(1 + step)" if self.config.tokens_per_step is None else "tokens"

    @property
    def time(self) -> np.ndarray:
        """The training time of every snapshot, float64 [snapshot]; see `time_name`."""
        if self.time_name == "index":
            return np.arange(len(self), dtype=np.float64)
        if self.time_name == "tokens":
            return np.array([snapshot.tokens for snapshot in self.snapshots], dtype=np.float64)
        return np.log2(1.0 + np.array(self.steps, dtype=np.float64))

    def subset(self, labels: Iterable[str]) -> "SnapshotSeries":
        """The series of the named snapshots, in this series' order; SnapshotError names an unknown label."""
        wanted = list(labels)
        unknown = [label for label in wanted if label not in self.labels]
        if unknown:
            raise SnapshotError(f"the series has no snapshot {unknown[0]!r}; it has {', '.join(self.labels)}.")
        return SnapshotSeries([s for s in self.snapshots if s.label in wanted], self.config)

    @functools.cached_property
    def model_configs(self) -> tuple[PretrainedConfig, ...]:
        """Every snapshot's model config; SeriesMismatch if width or depth differ."""
        configs = tuple(load_model_config(s.model, s.revision).get_text_config() for s in self.snapshots)
        for name, key in (("width (d_model)", "hidden_size"), ("number of blocks", "num_hidden_layers")):
            for snapshot, config in zip(self.snapshots, configs, strict=True):
                here, first = getattr(config, key), getattr(configs[0], key)
                if here != first:
                    raise SeriesMismatch(
                        f"{self.snapshots[0].label} has {name} {first} but {snapshot.label} has {here}; a series holds "
                        "snapshots of one architecture, so take one of them out."
                    )
        return configs

    @property
    def d_model(self) -> int:
        """Width of the residual stream, from the models' own configs."""
        return int(self.model_configs[0].hidden_size)

    @property
    def n_layers(self) -> int:
        """Number of blocks, from the models' own configs."""
        return int(self.model_configs[0].num_hidden_layers)

    def check_hook_points(self, hook_points: Iterable[HookPoint]) -> None:
        """HookPointError naming the range if a layer is outside the models; loads configs only, no weights."""
        for hook_point in hook_points:
            if hook_point.layer is not None and not 0 <= hook_point.layer < self.n_layers:
                raise HookPointError(
                    f"hook point {hook_point} is out of range: {self.labels[0]} has {self.n_layers} blocks, so layers "
                    f"0 to {self.n_layers - 1}."
                )

    def open(self, index: int, device: str = "cpu", dtype: str = "float32") -> HookedModel:
        """Load one snapshot's model with hooks; the caller drops it before the next if memory is short."""
        self.model_configs  # noqa: B018 - a mismatch must surface before gigabytes are loaded
        snapshot = self.snapshots[index]
        module = load_model(
            snapshot.model,
            snapshot.revision,
            device=device,
            dtype=dtype,
            allow_pickled_weights=self.config.allow_pickled_weights,
        )
        return HookedModel(module)

    def identity(self, index: int) -> str:
        """What the snapshot is, whatever it is called: the hub commit, or the hash of config and weights on disk."""
        snapshot = self.snapshots[index]
        if not is_local(snapshot.model):
            return resolve_commit(snapshot.model, snapshot.revision)
        digest = hashlib.sha256((Path(snapshot.model) / "config.json").read_bytes())
        for file in weight_files(snapshot.model):
            digest.update(f"{file.name}:{file.sha256}".encode())
        return digest.hexdigest()[:40]

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The series' tokenizer: the recipe's, else that of the last snapshot that has one (a chat model's template
        is its own); token maps are compared on the way."""
        if self.config.tokenizer is not None:
            return load_tokenizer(*split_revision(self.config.tokenizer))
        self.check_tokens()
        for index in reversed(range(len(self))):
            if self._vocabularies[index] is not None:
                return load_tokenizer(self[index].model, self[index].revision)
        raise SnapshotError(
            f"no snapshot of the series ({', '.join(self.labels)}) has a tokenizer; name a repository that has it as "
            "series.tokenizer."
        )

    @functools.cached_property
    def _vocabularies(self) -> tuple[dict[str, int] | None, ...]:
        return tuple(load_vocabulary(s.model, s.revision) for s in self.snapshots)

    def check_tokens(
        self, ids: Iterable[int] | None = None, replacements: Mapping[str, Mapping[int, int]] | None = None
    ) -> None:
        """SeriesMismatch unless every snapshot's own tokenizer gives the same token to the same id.

        `ids`: only the ids that occur in a corpus (a chat model may have renamed tokens that never do). Without it:
        every token that two tokenizers share. `replacements`: label -> the ids that this snapshot reads for others,
        which it need not know. Snapshots without a tokenizer are taken on trust; a tokenizer named in the recipe
        replaces theirs and is only held against the sizes of their embeddings.
        """
        occurring = None if ids is None else set(ids)
        instead = replacements or {}
        if occurring:
            self._check_embedding_sizes(occurring, instead)
        if self.config.tokenizer is not None:
            return
        known = [(s, v) for s, v in zip(self.snapshots, self._vocabularies, strict=True) if v is not None]
        for snapshot, vocabulary in known[1:]:
            first, reference = known[0]
            if vocabulary == reference:
                continue
            never_read = {*instead.get(first.label, {}), *instead.get(snapshot.label, {})}
            clash = _clash(reference, vocabulary, None if occurring is None else occurring - never_read)
            if clash is not None:
                raise SeriesMismatch(
                    f"{first.label} and {snapshot.label} have different tokenizers: {clash}; take one of them out, or "
                    "name one tokenizer for all as series.tokenizer if you know that it fits."
                )

    def _check_embedding_sizes(self, ids: set[int], replacements: Mapping[str, Mapping[int, int]]) -> None:
        for snapshot, config in zip(self.snapshots, self.model_configs, strict=True):
            instead = replacements.get(snapshot.label, {})
            largest = max(instead.get(each, each) for each in ids)
            if largest >= config.vocab_size:
                raise SeriesMismatch(
                    f"token id {largest} occurs in the corpus but {snapshot.label} embeds only {config.vocab_size} "
                    "ids; name what it reads instead (corpus.replacements) or choose another tokenizer."
                )


def _clash(first: dict[str, int], second: dict[str, int], ids: set[int] | None) -> str | None:
    """The first disagreement of two token → id maps in words, or None; `ids` restricts it to ids that occur."""
    if ids is None:
        shared = first.keys() & second.keys()
        wrong = sorted(token for token in shared if first[token] != second[token])
        if wrong:
            return f"{wrong[0]!r} is {first[wrong[0]]} in one and {second[wrong[0]]} in the other"
        smaller = min(len(first), len(second))
        # Added chat tokens are a handful; two unrelated vocabularies share ids by accident at best.
        return None if len(shared) >= 0.9 * smaller else f"they share only {len(shared)} of {smaller} tokens"
    by_id = [{i: token for token, i in vocabulary.items()} for vocabulary in (first, second)]
    for i in sorted(ids):
        tokens = [names.get(i) for names in by_id]
        if tokens[0] != tokens[1] and None not in tokens:
            return f"id {i} is {tokens[0]!r} in one and {tokens[1]!r} in the other"
    return None


def open_series(config: SeriesConfig) -> SnapshotSeries:
    """The series that a recipe describes; names are resolved here, weights are not touched.

    RevisionNotFound lists the nearest revisions; SnapshotError when nothing matches.
    """
    return SnapshotSeries(select_snapshots(config), config)
