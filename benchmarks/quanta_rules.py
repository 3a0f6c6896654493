"""Clusters of per-token gradients of a family grown on planted rules, held against the rules."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quanta_scores import Scores, score_labels, score_similarity
from benchmarks.truth_setting import Setting
from ontogeny.analyses.rules.scores import ceil_to_grid, score_times
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.curves import correlate_curves
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.emergence import axis_to_step, emergence_axis, find_emergence, halfway
from ontogeny.quanta.gram import compute_gram
from ontogeny.quanta.losses import measure_document_losses
from ontogeny.quanta.methods import cluster_tokens
from ontogeny.quanta.stability import match_clusters
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.world import RulesWorld

STEPS = (512, 724, 1024, 3000)
"""Snapshots at which tokens are compared: learning goes on in all but the last."""
CHOSEN_STEP = 724
N_DOCUMENTS, FIRST_DOCUMENT = 300, 1_000_000
"""Documents that no family was trained on: numbers beyond those of the corpus."""
N_TOKENS = 400
BELOW = 0.1
"""Loss in nats that a chosen token is under, as published."""


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
    """Scores at several snapshots; emergence of the quanta of the chosen one."""
    available = [step for step in setting.series.steps if step is not None]
    steps = [step for step in STEPS if step in available] or [available[-1]]
    chosen = CHOSEN_STEP if CHOSEN_STEP in steps else steps[-1]
    found: dict[str, Any] = {"chosen step": chosen, "steps": {}}
    for step in steps:
        found["steps"][step] = score_snapshot(setting, step, seed)
    found["emergence"] = found["steps"][chosen]["emergence"]
    return found


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
    scores |= score_similarity("loss curves", correlate_curves(curves[:, : place + 1]), truth, count)
    scores["token id"] = score_labels(text.documents.predicted(tokens), truth)
    scores["random labels"] = score_labels(np.random.default_rng(seed).permutation(truth), truth)
    quanta = cluster_tokens(compared["|g|"], [count], "linkage")[count]
    return {
        "n": len(tokens),
        "rules": count,
        "scores": scores,
        "emergence": score_emergence(setting, curves, quanta, truth),
    }


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


def score_emergence(
    setting: Setting, curves: np.ndarray, quanta: np.ndarray, truth: np.ndarray
) -> dict[str, float | None]:
    """When the quantum that matches a rule best emerged, against the step at which the rule was learned."""
    steps = list(setting.series.steps)
    rules = np.unique(truth)
    best = match_clusters(np.searchsorted(rules, truth), quanta, len(rules)).best
    mean = np.stack([curves[quanta == cluster].mean(axis=0) for cluster in best])
    at = find_emergence(mean, emergence_axis(steps), halfway(mean)).at
    found = np.where(np.isfinite(at), axis_to_step(steps, np.where(np.isfinite(at), at, 0.0)), np.nan)
    true = setting.learned[rules]
    times = score_times(found, true)
    ceiling = score_times(
        ceil_to_grid(np.where(np.isnan(found), np.nan, true), np.array(steps, dtype=np.float64)), true
    )
    values = (times.n, times.spearman, times.p, times.error, ceiling.spearman)
    return {name: None if np.isnan(value) else float(value) for name, value in zip(EMERGENCE, values, strict=True)}
