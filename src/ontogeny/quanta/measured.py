"""What was measured for a recipe: losses of one or more series on the same documents, and the tokens chosen of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.errors import AnalysisError
from ontogeny.quanta.copies import COPIES, mark_copies
from ontogeny.quanta.curves import check_columns
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.losses import LossMatrix
from ontogeny.quanta.methods import Clusterer, make_clusterer
from ontogeny.quanta.sections_config import QuantaConfig
from ontogeny.quanta.selection import select_tokens
from ontogeny.types import Snapshot

OWN = "series"
"""Name of the recipe's own series among several sizes."""


@dataclass(frozen=True)
class SizeLosses:
    """One series of one model size: losses [token snapshot], and the parameters of its model.

    `parameters` without those of embedding and unembedding.
    """

    name: str
    snapshots: tuple[Snapshot, ...]
    losses: LossMatrix
    parameters: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the snapshots."""
        return self.losses.labels

    @property
    def time_name(self) -> str:
        """What `time` counts: tokens, steps or snapshots, as far as they are known of all."""
        for name in ("tokens", "step"):
            if all(getattr(snapshot, name) is not None for snapshot in self.snapshots):
                return name
        return "snapshot"

    @property
    def time(self) -> Float[np.ndarray, " snapshot"]:
        """Tokens seen, steps, or the place in the series."""
        if self.time_name == "snapshot":
            return np.arange(len(self.snapshots), dtype=np.float64)
        return np.array([getattr(snapshot, self.time_name) for snapshot in self.snapshots], dtype=np.float64)


@dataclass(frozen=True)
class MeasuredLosses:
    """Losses on the same documents of the recipe's own series (first) and of others of the same tokenizer."""

    documents: Documents
    sizes: tuple[SizeLosses, ...]

    @property
    def own(self) -> SizeLosses:
        """Of the recipe's own series."""
        return self.sizes[0]

    @cached_property
    def copies(self) -> Mapping[str, Bool[np.ndarray, " token"]]:
        """Tokens that copying inside the document predicts, by name of n-gram."""
        return {name: mark_copies(self.documents, n) for name, n in COPIES.items()}

    def choose(self, config: QuantaConfig) -> Int[np.ndarray, " chosen"]:
        """The tokens to cluster. AnalysisError if there are too few, or no such snapshot."""
        labels = self.own.labels
        check_snapshots(labels, config)
        column = -1 if config.chosen_at is None else labels.index(config.chosen_at)
        copies: dict[str, np.ndarray] = {name: self.copies[name] for name in config.choice.leave_out}
        predicted = self.documents.predicted(np.arange(self.documents.n_predicted))
        return select_tokens(np.asarray(self.own.losses[:, column]), copies, predicted, config.choice)


def check_snapshots(labels: Sequence[str], config: QuantaConfig) -> None:
    """AnalysisError where a series of these snapshots lacks one that is named, or enough of them for curves."""
    chosen_at = () if config.chosen_at is None else (config.chosen_at,)
    for key, named in (("chosen_at", chosen_at), ("snapshots", config.snapshots or ())):
        for label in named:
            if label not in labels:
                raise AnalysisError(f"quanta.{key} names {label!r}; the series has {', '.join(labels)}.")
    if config.compares_curves:
        check_columns(len(labels))


def choose_snapshots(labels: tuple[str, ...], loss: Float[np.ndarray, " snapshot"], config: QuantaConfig) -> list[int]:
    """Places of the snapshots at which tokens are compared, ascending; `loss`: the mean of the chosen tokens.

    Unless named, they are the first at which 1/n, 2/n … of the fall of that loss are done, and the last; where several
    would be the same, the latest of the others come in. AnalysisError for an unknown label.
    """
    if config.kernel == "curves":
        return [len(labels) - 1]
    if config.snapshots is None:
        parts = min(config.n_snapshots, len(labels))
        bounds = loss[0] - (loss[0] - loss[-1]) * np.arange(1, parts) / parts
        chosen = {len(labels) - 1, *(int((loss <= bound).argmax()) for bound in bounds)}
        rest = [place for place in reversed(range(len(labels))) if place not in chosen]
        return sorted([*chosen, *rest[: parts - len(chosen)]])
    check_snapshots(labels, config)
    return sorted({labels.index(label) for label in config.snapshots})


@dataclass(frozen=True)
class TokenClusters:
    """The chosen tokens, by canonical index, and their clusters at some snapshots.

    `snapshots`: places in the recipe's own series, ascending. `open_similarity(place)` → cosines [token token].
    `labels` by place: the cluster of every token, numbered by size at that snapshot.
    """

    config: QuantaConfig
    tokens: Int[np.ndarray, " token"]
    documents: Int[np.ndarray, " token"]
    snapshots: tuple[int, ...]
    labels: Mapping[int, Int[np.ndarray, " token"]]
    open_similarity: Callable[[int], Float[np.ndarray, "token token"]]
    optimizer_states: Mapping[int, Path] = field(default_factory=dict)
    """By place, the file that gradients were whitened by, where there was one."""

    @property
    def clusterer(self) -> Clusterer:
        """What the labels were made with."""
        return clusterer_of(self.config)

    @property
    def last(self) -> int:
        """The place of the last of the snapshots, whose clusters are the quanta."""
        return self.snapshots[-1]


def clusterer_of(config: QuantaConfig) -> Clusterer:
    """The way to cluster that a recipe asks for."""
    return make_clusterer(config.method, config.background, config.seed, config.n_init)
