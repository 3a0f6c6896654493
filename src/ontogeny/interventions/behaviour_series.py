"""Behaviours in all snapshots of a dictionary's sources: one model in memory at a time, its activations in scratch."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from safetensors.numpy import load_file, save
from torch import Tensor

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError, CorpusError
from ontogeny.interventions.config import ChangeConfig
from ontogeny.interventions.effect_batches import PromptActivations, build_effect_batches, moving_positions
from ontogeny.interventions.effects import EffectPlan
from ontogeny.interventions.effects import Path as Way
from ontogeny.interventions.paths import Rule
from ontogeny.interventions.prompts import Prompts, clean_prompts, patch_prompts, read_prompts
from ontogeny.interventions.sources import source_positions
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.pairs import PairTokens
from ontogeny.types import Source
from ontogeny.workspace import write_bytes


def choose_places(sources: Sequence[Source], hook_points: Sequence[str] | None, analysis: str) -> list[int]:
    """Places of the sources at the hook points asked for, of all by default; AnalysisError names one that is not
    there."""
    points = [str(source.hook_point) for source in sources]
    wanted = points if hook_points is None else hook_points
    for each in wanted:
        if each not in points:
            known = ", ".join(dict.fromkeys(points))
            raise AnalysisError(f"analyses.{analysis}.hook_points names {each!r}; the dictionary has {known}.")
    return [place for place, point in enumerate(points) if point in wanted]


class BehaviourSeries:
    """The prompts of behaviours in every snapshot whose sources a dictionary reads or writes.

    Every stage of a question leaves one file a snapshot in `scratch`, under a name with a hash of config and pairs, so
    that a run that was cut off goes on. `sources`: those read or written; `writes`: which of them each written source
    is; `labels`: their snapshots.
    """

    def __init__(
        self,
        dictionary: Crosscoder,
        series: SnapshotSeries,
        known: Sequence[Source],
        behaviours: Mapping[str, PairTokens],
        config: ChangeConfig,
        scratch: Path,
        device: str,
    ) -> None:
        self.dictionary, self.series, self.behaviours, self.config = dictionary, series, behaviours, config
        self.scratch, self.device = scratch, device
        reads, writes = (source_positions(known, names) for names in (dictionary.sources_in, dictionary.sources_out))
        wanted = sorted({*reads, *writes})
        self.sources = [known[place] for place in wanted]
        self.reads = tuple(wanted.index(place) for place in reads)
        self.writes = tuple(wanted.index(place) for place in writes)
        self.labels = list(dict.fromkeys(source.snapshot.label for source in self.sources))
        digest = hashlib.sha256(config.model_dump_json().encode())
        for name, pairs in behaviours.items():
            digest.update(name.encode() + pairs.clean.tobytes() + pairs.right.tobytes() + pairs.wrong.tobytes())
        self.stamp = digest.hexdigest()[:12]
        for name in behaviours:  # before a snapshot is opened
            self.baseline(name)
            self.moves(name)

    def file(self, stage: str, label: str) -> Path:
        """Where a stage leaves what it found of a snapshot."""
        return self.scratch / f"{stage}-{self.labels.index(label):04d}.{self.stamp}.safetensors"

    def written_in(self, label: str, chosen: Sequence[int]) -> list[int]:
        """Of the written sources `chosen`, those of one snapshot."""
        return [place for place in chosen if self.sources[self.writes[place]].snapshot.label == label]

    def open(self, label: str) -> HookedModel:
        """The model of a snapshot; AnalysisError where it lacks a token of the pairs."""
        model = self.series.open(self.series.labels.index(label), device=self.device)
        for name, pairs in self.behaviours.items():
            largest = max(int(each.max()) for each in (pairs.clean, pairs.right, pairs.wrong))
            if largest >= model.vocab_size:
                text = self.series.tokenizer.decode([largest])
                raise AnalysisError(
                    f"behaviour {name!r} has the token {text!r} (id {largest}), and {label} knows {model.vocab_size}; "
                    "leave out pairs with tokens that only other snapshots have (a chat's template), or name the "
                    "tokenizer of all as series.tokenizer."
                )
        return model

    def read_activations(self) -> None:
        """Activations of all prompts in every snapshot."""
        for label in self.labels:
            file = self.file("activations", label)
            if file.is_file():
                continue
            model = self.open(label)
            tensors: dict[str, np.ndarray] = {}
            places = [at for at, source in enumerate(self.sources) if source.snapshot.label == label]
            model.check_hook_points([self.sources[at].hook_point for at in places])
            for name, side, prompts in self._prompts():
                for at in places:
                    values = read_prompts(model, prompts, self.sources[at].hook_point, self.config.batch)
                    tensors[f"{name}/{side}/{at}"] = values.numpy()
            write_bytes(file, save(tensors))

    def _prompts(self) -> list[tuple[str, str, Prompts]]:
        found = []
        for name, pairs in self.behaviours.items():
            for side, prompts in (("clean", clean_prompts(pairs)), ("patch", patch_prompts(pairs))):
                if prompts is not None:
                    found.append((name, side, prompts))
        return found

    def activations(self, name: str, side: str) -> PromptActivations:
        """What `read_activations` kept of one side (clean or patch) of a behaviour."""
        parts: dict[str, np.ndarray] = {}
        for label in self.labels:
            kept = load_file(self.file("activations", label))
            parts |= {key: value for key, value in kept.items() if key.startswith(f"{name}/{side}/")}
        values = np.stack([parts[f"{name}/{side}/{at}"] for at in range(len(self.sources))], axis=2)
        return PromptActivations(torch.from_numpy(values), self.reads, self.writes)

    def baseline(self, name: str) -> str:
        """The baseline of a behaviour, where the config leaves it open; AnalysisError where pairs lack it."""
        pairs = self.behaviours[name]
        chosen = self.config.baseline
        if chosen == "auto":
            chosen = "mean" if pairs.patch is None else "pair"
        if chosen == "pair" and pairs.patch is None:
            raise AnalysisError(
                f'behaviour {name!r} has pairs without a patch prefix; set baseline = "mean" or "zero", or give every '
                "pair one."
            )
        lengths = pairs.length if pairs.patch_length is None else pairs.patch_length
        if chosen == "pair" and bool((lengths != pairs.length).any()):
            raise AnalysisError(
                f"behaviour {name!r} has prefixes of unequal length, whose positions cannot be compared; set "
                'policy.equal_length = true, or baseline = "mean".'
            )
        return chosen

    def moves(self, name: str) -> Bool[Tensor, "prompt position"]:
        """Where activations of a behaviour move; CorpusError names one whose prompts keep no position."""
        try:
            return moving_positions(clean_prompts(self.behaviours[name]), self.config.skip_first, self.config.positions)
        except CorpusError as error:
            raise CorpusError(f"behaviour {name!r}: {error}") from error

    def make_plan(self, name: str, rule: Rule, steps: int, path: Way = "joint", threshold: float = 0.0) -> EffectPlan:
        """Codes of all prompts of a behaviour, and the path to its baseline."""
        config, pairs, baseline = self.config, self.behaviours[name], self.baseline(name)
        clean, dictionary = clean_prompts(pairs), self.dictionary.to(self.device)
        batches, mean = build_effect_batches(
            dictionary,
            clean,
            self.activations(name, "clean"),
            self.moves(name),
            baseline=baseline,  # type: ignore[arg-type]
            patched=None if pairs.patch is None else self.activations(name, "patch"),
            batch=config.batch,
        )
        points = [self.sources[at].hook_point for at in self.writes]
        return EffectPlan(
            dictionary,
            points,
            batches,
            mean,
            baseline=baseline,  # type: ignore[arg-type]
            path=path,
            rule=rule,
            steps=steps,
            threshold=threshold,
        )
