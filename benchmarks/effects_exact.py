"""Are estimated effects those of patching, and is anything found where there is nothing? On families of real snapshots.

A family that is grown here on a planted language (the shapes of recipes/demo-fast.toml), and the books snapshots where
they lie beside the checkout. Three dictionaries by seed. Pair baseline, 5 steps of integrated gradients: the top 50
latents of one half of the clusters are patched one by one on the other half, and what comes out is correlated with the
estimate, one r a behaviour and snapshot. A snapshot has a behaviour where accuracy less two standard errors over
clusters is above one half.

False discoveries: right and wrong answers of every pair exchanged at random. With the pair baseline that turns the
sign of the metric, and so of every effect on that prompt, and nothing else: it is done to the effects that were
computed once.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.timing import Line, Ratio
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.indirect_effects import IndirectEffectsConfig
from ontogeny.analyses.indirect_effects.attribution import Attributed, attribute_behaviours
from ontogeny.analyses.indirect_effects.judge import judge_effects
from ontogeny.dictionaries.crosscoder import load_dictionary
from ontogeny.latents.clusters import renumber, sum_clusters
from ontogeny.latents.quality import compute_quality
from ontogeny.pipeline import harvest, open_run, train
from ontogeny.recipe import load_recipe, recipe_folder
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours
from ontogeny.workspace import Workspace

GOAL_MEDIAN, GOAL_LEAST, GOAL_FALSE = 0.95, 0.7, 3.0
SEEDS, SHUFFLES = (0, 1, 2), 20
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RULES = {"facts": 6, "noise": False, "n_documents": 2000, "seed": 1} | dict.fromkeys(
    ("skip_trigrams", "agreements", "brackets", "copies", "modular_sums", "parities", "never"), 0
)


@dataclass(frozen=True)
class FamilyCase:
    """A recipe with what is changed in it, and the behaviours that are looked at."""

    name: str
    recipe: str
    overrides: Mapping[str, str]
    behaviours: list[dict[str, Any]]
    needs: Path | None = field(default=None)


def _toml(table: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {str(value).lower()}" for key, value in table.items()) + "}"


_RULES_TEXT = f'[{{kind = "rules", rules = {_toml(RULES)}}}]'
GROWN = FamilyCase(
    "grown on a planted language",
    "demo-fast",
    {"family.sources": _RULES_TEXT, "corpus.sources": _RULES_TEXT},
    [{"kind": "rules", "rules": RULES, "n_pairs": 256}],
)
BOOKS = FamilyCase(
    "books",
    "local-family",
    {
        "series.folders": str(DATA / "families" / "books" / "step*"),
        "series.steps": "[0, 64, 512, 1000, 3000, 4024]",
        "corpus.sources.0.path": str(DATA / "text" / "held_out_books.txt"),
        "corpus.max_tokens": "50000",
        "dictionary.n_latents": "1024",
        "dictionary.activation.k": "24",
        "training.steps": "200",
        "training.batch_size": "512",
    },
    [
        {"kind": "agreement", "name": "agreement", "attractors": 0, "n_pairs": 192},
        {"kind": "feature_circuits", "path": str(DATA / "eval" / "subject_verb" / "simple_train.json")},
    ],
    needs=DATA / "families" / "books",
)


@dataclass(frozen=True)
class Found:
    """Correlations with patching, one a behaviour and snapshot, and which of them have the behaviour; and in how many
    draws of exchanged answers some latent was significant."""

    r: list[float]
    slope: list[float]
    has: list[bool]
    false: int


def attribute(case: FamilyCase, seed: int, workspace: Workspace, full: bool) -> dict[str, Attributed]:
    """Effects of all behaviours in all snapshots with the dictionary of one seed."""
    overrides = {**case.overrides, "training.seed": str(seed)}
    if full:
        overrides["training.steps"] = "1000"
    recipe = load_recipe(recipe_folder() / f"{case.recipe}.toml", overrides.items(), env={})
    run = open_run(recipe, workspace)
    harvested = harvest(run)
    held_out: Any = SimpleNamespace(sources=harvested.sources)
    nothing: Any = None
    config = make_config(case)
    pairs = tokenize_behaviours(config.behaviours, config.policy, harvested.series.tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        dictionary = load_dictionary(train(run).path).eval()
        inputs = AnalysisInputs(dictionary, nothing, held_out, harvested.series, None, Path(scratch), "cpu")
        return attribute_behaviours(inputs, config, pairs)


def make_config(case: FamilyCase) -> IndirectEffectsConfig:
    """Pair baseline; 5 steps, 50 latents and up to 128 prompts as by default (of 48 prompts means are still noisy)."""
    return IndirectEffectsConfig.model_validate({"behaviours": case.behaviours, "baseline": "pair"})


def judge(found: Mapping[str, Attributed], config: IndirectEffectsConfig) -> Found:
    """Every check's correlation, and what exchanged answers give."""
    r, slope, has = [], [], []
    for given in found.values():
        clusters, n_clusters = renumber(given.pairs.cluster)
        right = sum_clusters((given.effects.start < 0) + 0.5 * (given.effects.start == 0), clusters, n_clusters)
        gaps = given.effects.completeness_gap()
        for source, check in enumerate(given.checks):
            quality = compute_quality(check.estimate, check.exact, float(gaps[source]))
            r.append(quality.r)
            slope.append(quality.slope)
            has.append(bool(right.mean[source] - 2 * right.se[source] > 0.5))
    first = next(iter(found.values()))
    return Found(r, slope, has, sum(finds_some(exchange_answers(first, seed), config) for seed in range(SHUFFLES)))


def exchange_answers(given: Attributed, seed: int) -> Attributed:
    """The same pairs with right and wrong exchanged at random."""
    effects = given.effects
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], effects.n_prompts)
    turned = {name: getattr(effects, name) * sign[:, None] for name in ("error", "start", "end")}
    values = effects.values * sign[effects.prompt][:, None]
    return dataclasses.replace(given, effects=dataclasses.replace(effects, values=values, **turned))


def finds_some(given: Attributed, config: IndirectEffectsConfig) -> bool:
    """Whether any latent is significant in any snapshot, at the false-discovery rate of the config (5 %)."""
    return bool(judge_effects(given, config).significant.any())


def measure_families(full: bool) -> list[Line]:
    """Median and least correlation with patching, and false discoveries, of every family."""
    lines = []
    for case in (GROWN, BOOKS):
        if case.needs is not None and not case.needs.is_dir():
            lines.append(Line("effects", case.name, "exactness", reason=f"no {case.needs.name} beside the checkout"))
            continue
        with tempfile.TemporaryDirectory() as folder:
            workspace, config = Workspace(Path(folder)), make_config(case)
            found = [judge(attribute(case, seed, workspace, full), config) for seed in SEEDS]
        lines += make_lines(case, found)
    return lines


def make_lines(case: FamilyCase, found: list[Found]) -> list[Line]:
    """The lines of one family; behind each figure the smallest and largest over the dictionaries' seeds."""
    sets = [[r for r, has in zip(each.r, each.has, strict=True) if has] for each in found]
    medians = [statistics.median(each) for each in sets]
    pooled = statistics.median([r for each in sets for r in each])
    least = [min(each) for each in sets]
    slopes = [slope for each in found for slope, has in zip(each.slope, each.has, strict=True) if has]
    false = [float(each.false) for each in found]
    name = f"{case.name}, {len(sets[0])} of {len(found[0].r)} snapshots x behaviours have it, {len(found)} dictionaries"
    return [
        Line("effects", name, "r with patching, top 50, median", Ratio(pooled, min(medians), max(medians)),
             goal=GOAL_MEDIAN, direction="at_least"),
        Line("effects", name, "r with patching, top 50, least", Ratio(min(least), min(least), max(least)),
             goal=GOAL_LEAST, direction="at_least"),
        Line("effects", name, "slope of exact on estimated", _spread(slopes)),
        Line("effects", name, f"of {SHUFFLES} exchanges of answers, with a significant latent",
             Ratio(max(false), min(false), max(false)), goal=GOAL_FALSE),
    ]  # fmt: skip


def _spread(values: list[float]) -> Ratio:
    return Ratio(statistics.median(values), min(values), max(values))
