"""Clusters of per-token gradients of a family grown on planted rules, held against the rules."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quanta_scores import Scores, score_labels, score_similarity
from benchmarks.truth_setting import Setting
from ontogeny.analyses.rules.scores import score_times
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.curves import correlate_curves
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.emergence import axis_to_step, emergence_axis, find_emergence, halfway
from ontogeny.quanta.gram import compute_gram
from ontogeny.quanta.losses import measure_document_losses
from ontogeny.quanta.methods import cluster_tokens
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.world import RulesWorld

STEPS = (724, 3000)
"""Snapshots at which tokens are compared: in mid-training, and the last, whose quanta are dated."""
N_DOCUMENTS, FIRST_DOCUMENT = 300, 1_000_000
"""Documents that no family was trained on: numbers beyond those of the corpus."""
N_TOKENS = 400
BELOW = 0.1
"""Loss in nats that a chosen token is under, as published."""
SHARE = 0.9
"""Of a quantum's fall, at which it counts as emerged: the first half is the kind of word that comes, for all rules."""
LEAST = 3
"""Tokens of a quantum that is dated."""


@dataclass(frozen=True)
class RuleTokens:
    """Texts of a world, and of every predicted token the rule and whether it determines it."""

    documents: Documents
    rule: np.ndarray
    determined: np.ndarray

    @classmethod
    def of(cls, world: RulesWorld, length: int) -> "RuleTokens":
        """Documents of the world after end-of-text, as the family reads them, cut to its context."""
        ids = {word: number + 1 for number, word in enumerate(world.words)}
        tokens, rule, role = [], [], []
        for number in range(FIRST_DOCUMENT, FIRST_DOCUMENT + N_DOCUMENTS):
            document = world.document(number)
            words = document.words[: length - 1]
            tokens.append(np.array([0, *(ids[word] for word in words)]))
            rule.append(document.labels["rule"][: len(words)])
            role.append(document.labels["role"][: len(words)])
        return cls(Documents.of(tokens), np.concatenate(rule), np.concatenate(role) == Role.DETERMINED)


def score_rules(setting: Setting, seed: int) -> dict[str, Any]:
    """Scores at several snapshots; emergence of the quanta of the last one."""
    available = [step for step in setting.series.steps if step is not None]
    steps = [step for step in STEPS if step in available] or [available[-1]]
    scored = {str(step): score_snapshot(setting, step, seed) for step in steps}
    return {"steps": scored, "emergence": scored[str(steps[-1])]["emergence"]}


def score_snapshot(setting: Setting, step: int, seed: int) -> dict[str, Any]:
    """Choose tokens at one snapshot, compare and cluster them in every way."""
    assert setting.recipe.family is not None
    place = setting.series.steps.index(step)
    stage = sum(begins <= step for begins in setting.stages[0].stage_steps) - 1
    # The text that the snapshot was trained on last.
    text = RuleTokens.of(setting.stages[min(stage, len(setting.stages) - 1)], setting.recipe.family.context_length)
    model = setting.series.open(place)
    losses = measure_document_losses(model, text.documents)
    candidates = np.flatnonzero(text.determined & (losses < BELOW))
    tokens = np.sort(np.random.default_rng(seed).permutation(candidates)[:N_TOKENS])
    truth = text.rule[tokens]
    count = len(np.unique(truth))
    if count < 3:
        return {"n": len(tokens), "rules": count, "scores": {}, "emergence": dict.fromkeys(EMERGENCE)}
    scores: dict[str, Scores] = {}
    compared = {}
    for name, config in COMPARED.items():
        compared[name] = compute_gram(model, text.documents, tokens, config).similarity()
        scores |= score_similarity(name, compared[name], truth, count)
    curves = measure_curves(setting, text.documents, tokens)
    compared["loss curves"] = correlate_curves(curves[:, : place + 1])
    compared["|g| + curves"] = (compared["|g|"] + compared["loss curves"]) / 2
    for name in ("loss curves", "|g| + curves"):
        scores |= score_similarity(name, compared[name], truth, count)
    scores["token id"] = score_labels(text.documents.predicted(tokens), truth)
    scores["random labels"] = score_labels(np.random.default_rng(seed).permutation(truth), truth)
    quanta = cluster_tokens(compared["|g| + curves"], [count], "linkage")[count]
    learned = learned_by_stage(setting, stage)
    emergence = score_emergence(setting, curves, quanta, truth, learned)
    planted = score_emergence(setting, curves, np.unique(truth, return_inverse=True)[1], truth, learned)
    emergence["ceiling"] = planted["spearman"]
    return {"n": len(tokens), "rules": count, "scores": scores, "emergence": emergence}


COMPARED = {
    "signed": GramConfig(),
    "|g|": GramConfig(entries="absolute"),
    "white |g|": GramConfig(entries="absolute", whitening="adam"),
}
EMERGENCE = ("n", "spearman", "p", "error", "ceiling")


def measure_curves(setting: Setting, documents: Documents, tokens: np.ndarray) -> np.ndarray:
    """Losses [token snapshot] of the chosen tokens, in all snapshots of the series; only their documents are read."""
    document, position = documents.locate(tokens)
    kept, number = np.unique(document, return_inverse=True)
    part = Documents.of([documents.document(each) for each in kept.tolist()])
    at = part.starts[number] + position - 1
    series = setting.series
    return np.stack([measure_document_losses(series.open(place), part)[at] for place in range(len(series))], axis=1)


def learned_by_stage(setting: Setting, stage: int) -> np.ndarray:
    """The step at which each rule was learned as it is at a stage of the world; NaN for one that was not; [rule]."""
    steps = np.full(len(setting.names), np.nan)
    for version, step in zip(setting.truth.versions, setting.truth.learned, strict=True):
        if version.stage <= stage:
            steps[version.rule] = step
    return steps


def score_emergence(
    setting: Setting, curves: np.ndarray, quanta: np.ndarray, truth: np.ndarray, learned: np.ndarray
) -> dict[str, float | None]:
    """When each quantum emerged, against the step at which the rule that most of its tokens belong to was learned."""
    steps = list(setting.series.steps)
    dated = [quantum for quantum, size in enumerate(np.bincount(quanta)) if size >= LEAST]
    mean = np.stack([curves[quanta == quantum].mean(axis=0) for quantum in dated])
    at = find_emergence(mean, emergence_axis(steps), halfway(mean, SHARE)).at
    found = np.where(np.isfinite(at), axis_to_step(steps, np.where(np.isfinite(at), at, 0.0)), np.nan)
    rules = [int(np.bincount(truth[quanta == quantum]).argmax()) for quantum in dated]
    times = score_times(found, learned[rules])
    values = (float(times.n), times.spearman, times.p, times.error)
    return {name: None if np.isnan(value) else float(value) for name, value in zip(EMERGENCE, values, strict=False)}
