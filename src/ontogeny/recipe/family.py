"""A recipe on another family of models: the same experiment, cut to the size of what was grown."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ontogeny.errors import SnapshotError
from ontogeny.recipe.tree import Recipe
from ontogeny.types import HookPoint

# What a small family on a small machine gets at most; every one can be set on the command line.
MOST_CORPUS_TOKENS = 400_000
MOST_STEPS = 400
MOST_BATCH = 1024
MOST_LATENTS = 4096
# Latents on at once: a quarter of the width, or as many as the demo needs. OLMo's 200 of 2,048 dimensions are more than
# a family of 128 has.
MOST_K_SHARE = 1 / 4
LEAST_K = 32
# So few tokens hold few documents, and the split takes whole ones: short ones, and a larger share held out.
LEAST_HELD_OUT = 0.1
MOST_TOKENS_PER_DOCUMENT = 1000
# A small tokenizer splits many words, so that few pairs fit each other.
MOST_PAIRS = 64
# A rate made for 100,000 steps learns nothing in a few hundred: OLMo's 5e-5 left a variance explained of -21.
LEAST_LR = 1e-3
# Quanta: a small model predicts few tokens as well as a large one does.
LEAST_BELOW = 1.0
MOST_EVERY = 1
MOST_CHOSEN = 500
MOST_CLUSTERS = 25


@dataclass(frozen=True)
class Family:
    """A folder of snapshots that `ontogeny grow` (or anyone) left: `step0`, `step1`, …, ordinary Hugging Face folders.

    `text_sources` is the text it was trained on, as `[corpus] sources`, where that is known.
    """

    name: str
    folder: Path
    steps: tuple[int, ...]
    n_layers: int
    d_model: int
    context_length: int
    text_sources: tuple[dict[str, Any], ...] = ({"kind": "stdlib"},)


def open_family(
    folder: Path, name: str | None = None, text_sources: tuple[dict[str, Any], ...] = ({"kind": "stdlib"},)
) -> Family:
    """Read the sizes of a family off its folders; SnapshotError where there is none."""
    folders = [path.parent for path in folder.glob("step*/config.json") if path.parent.name[4:].isdigit()]
    steps = tuple(sorted(int(path.name.removeprefix("step")) for path in folders))
    if not steps:
        raise SnapshotError(
            f"{folder} holds no snapshots: a family is a folder of model folders named step0, step1, …."
        )
    config = json.loads((folder / f"step{steps[-1]}" / "config.json").read_text(encoding="utf-8"))

    def first(*names: str) -> int:
        return next(int(config[name]) for name in names if name in config)

    return Family(
        name=name or folder.name,
        folder=folder.resolve(),
        steps=steps,
        n_layers=first("num_hidden_layers", "n_layer", "n_layers"),
        d_model=first("hidden_size", "n_embd", "d_model"),
        context_length=first("max_position_embeddings", "n_positions", "seq_length"),
        text_sources=text_sources,
    )


def fit_to_family(recipe: Recipe, family: Family) -> dict[str, Any]:
    """Dotted key -> value of all that must change for the recipe to run on `family` in minutes.

    Snapshots are spread over the family, as many as the recipe asks for; a base/chat pair becomes its middle and its
    last snapshot. A hook point keeps its relative depth. Text that is not on this machine becomes the family's own.
    Lengths in steps shrink with the training, and k with the width.
    """
    changes: dict[str, Any] = {"series": _series(recipe, family), "family": None, "model": None}
    changes["corpus.replacements"] = {}  # they go by the labels of the recipe's own series
    if recipe.corpus.context_length > family.context_length:
        changes["corpus.context_length"] = family.context_length
    if not all(_is_here(source) for source in recipe.corpus.sources):
        changes["corpus.sources"] = [dict(source) for source in family.text_sources]
        roles = {"control", "system", "user", "assistant", "tool"}
        changes["corpus.exclude"] = [mask for mask in recipe.corpus.exclude if mask not in roles]
        changes["corpus.held_out"] = max(recipe.corpus.held_out, LEAST_HELD_OUT)
        longest = recipe.corpus.max_tokens_per_document or MOST_TOKENS_PER_DOCUMENT
        changes["corpus.max_tokens_per_document"] = min(longest, MOST_TOKENS_PER_DOCUMENT)
    if recipe.corpus.max_tokens is None or recipe.corpus.max_tokens > MOST_CORPUS_TOKENS:
        changes["corpus.max_tokens"] = MOST_CORPUS_TOKENS
    if recipe.activations is not None:
        points = {point: _same_depth(point, recipe, family) for point in recipe.activations.hook_points}
        changes["activations.hook_points"] = list(dict.fromkeys(points.values()))
        for key in ("reads", "writes"):
            if (chosen := getattr(recipe, key)) is not None:
                changes[key] = [points[point] for point in chosen]
    for name, config in recipe.chosen_analyses.items():
        if chosen := getattr(config, "hook_points", None):
            changes[f"analyses.{name}.hook_points"] = [_same_depth(point, recipe, family) for point in chosen]
    if recipe.dictionary is not None and recipe.dictionary.latents_for(family.d_model) > MOST_LATENTS:
        changes |= {"dictionary.expansion": None, "dictionary.n_latents": MOST_LATENTS}
    return (
        changes | _sparsity(recipe, family) | _quanta(recipe, family) | _training(recipe) | _behaviours(recipe, family)
    )


def _sparsity(recipe: Recipe, family: Family) -> dict[str, Any]:
    """Fewer latents on at once, where k is the number of them; what k begins at shrinks by the same share."""
    k = getattr(getattr(recipe.dictionary, "activation", None), "k", None)
    most = max(round(family.d_model * MOST_K_SHARE), LEAST_K)
    if recipe.dictionary is None or k is None or k <= most:
        return {}
    if recipe.dictionary.activation.kind == "groupmax":
        # Groups are equal.
        n_latents = min(recipe.dictionary.latents_for(family.d_model), MOST_LATENTS)
        most = next(groups for groups in range(most, 0, -1) if n_latents % groups == 0)
    changes: dict[str, Any] = {"dictionary.activation.k": most}
    if recipe.training is not None and recipe.training.initial_k is not None:
        changes["training.initial_k"] = max(round(recipe.training.initial_k * most / k), most)
    return changes


def _behaviours(recipe: Recipe, family: Family) -> dict[str, Any]:
    """For pairs in files that are not on this machine a generator's under the same name: of the family's planted
    language, or subject-verb agreement."""
    planted = next((source for source in family.text_sources if source.get("kind") == "rules"), None)
    made = {"kind": "agreement"} if planted is None else {"kind": "rules", "rules": planted.get("rules", {})}
    changes = {}
    for name, config in recipe.chosen_analyses.items():
        given = getattr(config, "behaviours", [])
        if not all(_is_here(each) for each in given):
            changes[f"analyses.{name}.behaviours"] = [
                each.model_dump(mode="json", exclude_defaults=True)
                if _is_here(each)
                else {**made, "name": each.label, "n_pairs": MOST_PAIRS, "seed": number}
                for number, each in enumerate(given)
            ]
    return changes


def _quanta(recipe: Recipe, family: Family) -> dict[str, Any]:
    """Fewer tokens and clusters, a higher threshold, documents as long as the models read; only the family's size."""
    changes: dict[str, Any] = {}
    if recipe.losses is not None:
        longest = recipe.corpus.max_tokens_per_document or MOST_TOKENS_PER_DOCUMENT
        changes["corpus.max_tokens_per_document"] = min(longest, family.context_length)
        if recipe.losses.sizes:
            changes["losses.sizes"] = {}
    if recipe.quanta is not None:
        choice = recipe.quanta.choice
        changes |= {
            "quanta.choice.below": max(choice.below, LEAST_BELOW),
            "quanta.choice.every": min(choice.every, MOST_EVERY),
            "quanta.choice.n_tokens": min(choice.n_tokens, MOST_CHOSEN),
            "quanta.n_clusters": min(recipe.quanta.n_clusters, MOST_CLUSTERS),
        }
        if recipe.quanta.chosen_at is not None:
            changes["quanta.chosen_at"] = None
        if recipe.quanta.snapshots is not None:
            changes |= {"quanta.snapshots": None, "quanta.n_snapshots": len(recipe.quanta.snapshots)}
    return changes


def _series(recipe: Recipe, family: Family) -> dict[str, Any]:
    series, steps = recipe.series, family.steps
    if series.base is not None:
        return {
            "base": str(family.folder / f"step{steps[(len(steps) - 1) // 2]}"),
            "chat": str(family.folder / f"step{steps[-1]}"),
        }
    if series.range is not None:
        wanted = series.range.count
    else:
        chosen = series.steps or series.revisions
        wanted = len(chosen) if chosen is not None else (1 if series.model is not None else len(steps))
    return {"folders": str(family.folder / "step*"), "steps": [steps[i] for i in spread(len(steps), wanted)]}


def spread(available: int, wanted: int) -> list[int]:
    """`wanted` indices spread evenly over range(available), both ends among them; of one, the last."""
    if wanted >= available:
        return list(range(available))
    if wanted == 1:
        return [available - 1]
    return [round(i * (available - 1) / (wanted - 1)) for i in range(wanted)]


def _same_depth(text: str, recipe: Recipe, family: Family) -> str:
    """The hook point at the same share of the depth; the middle where a layer is too deep and no sizes are known."""
    point = HookPoint.parse(text)
    if point.layer is None:
        return text
    if recipe.model is not None:
        layer = min(round(point.layer / recipe.model.n_layers * family.n_layers), family.n_layers - 1)
    else:
        layer = point.layer if point.layer < family.n_layers else family.n_layers // 2
    return str(HookPoint(point.site, layer))


def _is_here(source: Any) -> bool:
    """Whether what a text source or a behaviour reads is on this machine."""
    if getattr(source, "chat", False) or source.kind == "hub":
        return False
    if source.path is None:
        return True
    path = Path(source.path).expanduser()
    return any(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _training(recipe: Recipe) -> dict[str, Any]:
    """Fewer steps, smaller batches, and every length in steps or tokens shrunk by the same share."""
    training = recipe.training
    if training is None:
        return {}
    batch = min(training.batch_size, MOST_BATCH)
    steps = min(training.total_steps, MOST_STEPS)
    share = steps / training.total_steps
    changes: dict[str, Any] = {}
    if batch < training.batch_size:
        changes["training.batch_size"] = batch
    if share < 1:
        changes |= {"training.steps": steps, "training.tokens": None, "training.lr": max(training.lr, LEAST_LR)}
        for key in ("warmup", "decay", "sparsity_warmup", "k_anneal"):
            span = getattr(training, key)
            if isinstance(span, int) and span > 0:
                changes[f"training.{key}"] = max(round(span * share), 1)
        if training.dead_window is not None:
            changes["training.dead_window"] = None
        start = getattr(getattr(recipe.dictionary, "activation", None), "threshold_start", 0)
        if start:
            changes["dictionary.activation.threshold_start"] = round(start * share)
    return changes
