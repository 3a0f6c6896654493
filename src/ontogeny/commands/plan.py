"""What a recipe will cost before anything starts: downloads, disk, memory and hours, by arithmetic and one matmul."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from ontogeny.commands.listing import format_bytes
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.errors import ConfigError, HookPointError
from ontogeny.quanta.config import PUBLISHED
from ontogeny.recipe import FAMILY_FOLDER, Recipe
from ontogeny.snapshots.grow_config import FamilyConfig
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.files import COMPRESSIONS, find_files
from ontogeny.tokens.text_sources import stdlib_files
from ontogeny.types import HookPoint

BYTES_PER_TEXT_TOKEN = 5.0
# What text shrinks by when it is compressed, and in Parquet, which is.
PACKED, PACKED_SUFFIXES = 3, (*COMPRESSIONS, ".parquet")
STORED_BYTES = {"bfloat16": 2, "float32": 4, "int8": 1}
# A training step as a multiple of its encoder matmul: sparse codes need little more, dense ones five products.
STEP_PER_MATMUL = {"topk": 1.45, "batchtopk": 1.6, "groupmax": 1.6, "relu": 5.5, "jumprelu": 6.25}
DENSE_STEP = max(STEP_PER_MATMUL.values())
# Share of the measured matmul rate that a transformer's forward pass reaches (attention, norms, small products).
FORWARD_EFFICIENCY = 0.6


@dataclass(frozen=True)
class ModelSize:
    """Sizes of one snapshot. `download_bytes` is zero for what lies on this machine."""

    n_layers: int
    d_model: int
    parameters: int | float
    vocab_size: int
    download_bytes: int | float


@dataclass(frozen=True)
class StageCost:
    """One stage: bytes downloaded, bytes left on disk, peak bytes in memory, seconds."""

    stage: str
    download: int | float
    disk: int | float
    memory: int | float
    seconds: float


def measure_matmul_rate(device: str) -> float:
    """Floating-point operations a second of a float32 product [1024 1024] x [1024 4096], best of five."""
    import torch

    a, b = torch.randn(1024, 1024, device=device), torch.randn(1024, 4096, device=device)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        # Reading one number back waits for the device.
        float((a @ b)[0, 0])
        best = min(best, time.perf_counter() - started)
    return 2 * 1024 * 1024 * 4096 / best


def size_of_family(family: FamilyConfig) -> ModelSize:
    """The model that a family config describes: 12 d² a block, embedding and unembedding."""
    parameters = 12 * family.n_layers * family.d_model**2 + 2 * family.vocab_size * family.d_model
    return ModelSize(family.n_layers, family.d_model, parameters, family.vocab_size, 0.0)


def size_of_models(recipe: Recipe) -> ModelSize:
    """From the recipe's own [model], the family it grows, or the models' configs (hub or folders), in this order."""
    series = recipe.series
    if FAMILY_FOLDER in (series.folders or ""):
        assert recipe.family is not None, "a recipe that names its family has one"
        return size_of_family(recipe.family)
    if recipe.model is not None:
        model = recipe.model
        stored = model.parameters * model.bytes_per_parameter
        return ModelSize(model.n_layers, model.d_model, model.parameters, model.vocab_size, stored)
    from ontogeny.snapshots.hub import is_local
    from ontogeny.snapshots.series import open_series

    opened = open_series(series)
    config: Any = opened.model_configs[-1]
    parameters = 12 * opened.n_layers * opened.d_model**2 + 2 * config.vocab_size * opened.d_model
    here = all(is_local(snapshot.model) for snapshot in opened.snapshots)
    return ModelSize(opened.n_layers, opened.d_model, parameters, config.vocab_size, 0.0 if here else 2.0 * parameters)


def count_snapshots(recipe: Recipe) -> int:
    """Snapshots that the recipe names; folders without a choice of steps are counted on disk."""
    series = recipe.series
    chosen = series.steps or series.revisions
    if chosen is not None:
        return len(chosen)
    if series.range is not None:
        return series.range.count
    if series.base is not None:
        return 2
    if series.folders is None:
        return 1
    if FAMILY_FOLDER in series.folders and recipe.family is not None:
        return len(recipe.family.snapshot_steps)
    from ontogeny.snapshots.series import open_series

    return len(open_series(series))


def plan(recipe: Recipe, rate: float) -> list[StageCost]:
    """The cost of every stage that the recipe names; `rate` in flop/s (see `measure_matmul_rate`)."""
    size, snapshots = size_of_models(recipe), count_snapshots(recipe)
    tokens = _corpus_tokens(recipe)
    made = {
        "grow": lambda: _plan_grow(recipe, rate),
        "harvest": lambda: _plan_harvest(recipe, size, snapshots, tokens, rate),
        "train": lambda: _plan_train(recipe, size, snapshots, rate),
        "evaluate": lambda: _plan_evaluate(recipe, size, snapshots, tokens, rate),
        "losses": lambda: _plan_losses(recipe, size, snapshots, tokens, rate),
        "quanta": lambda: _plan_quanta(recipe, size, snapshots, rate),
    }
    return [made[stage]() for stage in recipe.stages if stage in made]


def _corpus_tokens(recipe: Recipe) -> int:
    if recipe.corpus.max_tokens is not None:
        return recipe.corpus.max_tokens
    return sum(_source_tokens(source) for source in recipe.corpus.sources)


def guesses_text(recipe: Recipe) -> bool:
    """Whether the amount of text is guessed from its files, for want of a budget of tokens."""
    return recipe.corpus.max_tokens is None and any(source.max_tokens is None for source in recipe.corpus.sources)


def _source_tokens(source: TextSourceConfig) -> int:
    """The source's budget of tokens, else a guess from its files; ConfigError where it has neither."""
    if source.max_tokens is not None:
        return source.max_tokens
    if source.kind == "stdlib":
        files = stdlib_files()
    elif source.kind == "files" and source.path is not None:
        files = find_files(source.path)
    else:
        raise ConfigError("plan needs to know the amount of text: set corpus.max_tokens.")
    text = sum(file.stat().st_size * (PACKED if file.suffix in PACKED_SUFFIXES else 1) for file in files)
    return math.ceil(text / BYTES_PER_TEXT_TOKEN)


def _plan_grow(recipe: Recipe, rate: float) -> StageCost:
    family = recipe.family
    assert family is not None, "only a recipe with [family] grows"
    size = size_of_family(family)
    tokens = family.steps * family.tokens_per_step
    disk = len(family.snapshot_steps) * size.parameters * 4
    return StageCost("grow", 0, disk, size.parameters * 16, 6 * size.parameters * tokens / (rate * FORWARD_EFFICIENCY))


def _plan_harvest(recipe: Recipe, size: ModelSize, snapshots: int, tokens: int, rate: float) -> StageCost:
    config = recipe.activations
    assert config is not None, "only a recipe with [activations] harvests"
    layers = [HookPoint.parse(point).layer for point in config.hook_points]
    n_blocks = max(layer + 1 if layer is not None else 0 for layer in layers)
    if n_blocks > size.n_layers:
        raise HookPointError(
            f"activations.hook_points names layer {n_blocks - 1}, which is out of range: the models have "
            f"{size.n_layers} blocks, so layers 0 to {size.n_layers - 1}."
        )
    depth = n_blocks / size.n_layers
    body = (size.parameters - size.vocab_size * size.d_model) * depth
    row = (size.d_model * STORED_BYTES[config.dtype] + 4) * snapshots * len(config.hook_points)
    held_out = tokens * recipe.corpus.held_out
    on_disk = held_out + (tokens - held_out if config.store == "sharded" else 0)
    disk = on_disk * row + tokens * 14 + (config.disk_budget_gb * 1e9 if config.store == "live" else 0)
    memory = size.parameters * 4 + 2 * config.tokens_per_shard * row / snapshots
    if config.store == "memory":
        memory += tokens * row
    text = sum(source.kind == "hub" for source in recipe.corpus.sources) / len(recipe.corpus.sources)
    download = snapshots * size.download_bytes + text * tokens * BYTES_PER_TEXT_TOKEN
    seconds = 2 * body * tokens * snapshots / (rate * FORWARD_EFFICIENCY)
    return StageCost("harvest", download, disk + snapshots * size.download_bytes, memory, seconds)


def _sources(recipe: Recipe, snapshots: int, hook_points: Sequence[str] | None) -> int:
    every = recipe.activations.hook_points if recipe.activations else []
    return snapshots * len(hook_points or every)


def _dictionary_parameters(structure: CrosscoderConfig, d_model: int, n_in: int, n_out: int) -> int:
    skip = n_in * n_out * d_model**2 if structure.skip else 0
    return structure.latents_for(d_model) * d_model * (n_in + n_out) + skip


def _plan_train(recipe: Recipe, size: ModelSize, snapshots: int, rate: float) -> StageCost:
    training, structure, config = recipe.training, recipe.dictionary, recipe.activations
    assert training is not None and structure is not None and config is not None, "the recipe's validator sees to it"
    n_in, n_out = _sources(recipe, snapshots, recipe.reads), _sources(recipe, snapshots, recipe.writes or recipe.reads)
    parameters = _dictionary_parameters(structure, size.d_model, n_in, n_out)
    n_latents = structure.latents_for(size.d_model)
    pool = 2 * config.pool_shards * config.tokens_per_shard * size.d_model * STORED_BYTES[config.dtype]
    pool *= _sources(recipe, snapshots, None)
    memory = parameters * 16 + 3 * training.batch_size * n_latents * 4 + pool
    matmul = 2 * training.batch_size * n_in * size.d_model * n_latents
    # Adam reads and writes some 28 bytes a parameter and step: at 10 GB/s that counts beside a small batch's matmul.
    step = STEP_PER_MATMUL.get(structure.activation.kind, DENSE_STEP) * matmul / rate + parameters * 28 / 10e9
    return StageCost("train", 0, parameters * 4 * (1 + 3 * training.keep_last), memory, training.total_steps * step)


def _plan_evaluate(recipe: Recipe, size: ModelSize, snapshots: int, tokens: int, rate: float) -> StageCost:
    evaluation, structure = recipe.evaluation, recipe.dictionary
    assert evaluation is not None and structure is not None, "the recipe's validator sees to it"
    n_in, n_out = _sources(recipe, snapshots, recipe.reads), _sources(recipe, snapshots, recipe.writes or recipe.reads)
    parameters = _dictionary_parameters(structure, size.d_model, n_in, n_out)
    held_out = tokens * recipe.corpus.held_out
    encoded = min(evaluation.max_tokens or held_out, held_out) + min(evaluation.dead_tokens, tokens)
    spliced = min(evaluation.splice_tokens or held_out, held_out) if evaluation.splice else 0
    passes = 4 * spliced * snapshots * 2 * size.parameters
    work = passes / FORWARD_EFFICIENCY + encoded * 2 * parameters
    return StageCost("evaluate", 0, 1e6, parameters * 4 + size.parameters * 4, work / rate)


def _plan_losses(recipe: Recipe, size: ModelSize, snapshots: int, tokens: int, rate: float) -> StageCost:
    """One forward of every snapshot; those of `losses.sizes` as if they were of this size."""
    losses = recipe.losses
    assert losses is not None, "only a recipe with [losses] measures them"
    share = {"all": 1.0, "held_out": recipe.corpus.held_out, "train": 1 - recipe.corpus.held_out}[losses.split]
    measured = tokens * share
    if losses.max_documents is not None:
        measured = min(measured, losses.max_documents * losses.max_length)
    snapshots *= 1 + len(losses.sizes)
    text = sum(source.kind == "hub" for source in recipe.corpus.sources) / len(recipe.corpus.sources)
    harvests = recipe.activations is not None  # which fetches models and text, in its own row
    download = 0 if harvests else snapshots * size.download_bytes + text * tokens * BYTES_PER_TEXT_TOKEN
    seconds = 2 * size.parameters * measured * snapshots / (rate * FORWARD_EFFICIENCY)
    memory = size.parameters * 4 + losses.batch_tokens * size.vocab_size * 8
    return StageCost("losses", download, measured * 4 * snapshots, memory, seconds)


def _plan_quanta(recipe: Recipe, size: ModelSize, snapshots: int, rate: float) -> StageCost:
    """8 · parameters · N · length for gradients and N² · parameters for their products, at each snapshot."""
    quanta, losses = recipe.quanta, recipe.losses
    assert quanta is not None and losses is not None, "the recipe's validator sees to it"
    n_tokens = quanta.choice.n_tokens
    at = min(snapshots, len(quanta.snapshots) if quanta.snapshots is not None else quanta.n_snapshots)
    body = size.parameters - 2 * size.vocab_size * size.d_model
    length = min(losses.max_length, recipe.corpus.max_tokens_per_document or losses.max_length) / 2
    work = at * body * (8 * n_tokens * length / FORWARD_EFFICIENCY + n_tokens**2)
    if quanta.kernel == "curves":
        at, work = 0, 0.0
    clustering = max(at, 1) * 10 * n_tokens**3  # one decomposition of an affinity
    disk = at * len(quanta.gram.groups or PUBLISHED) * n_tokens**2 * 4
    memory = quanta.gram.memory * 1e9 if at else 3 * n_tokens**2 * 8
    return StageCost("quanta", 0, disk, memory, (work + clustering) / rate)


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 0.01:
        return "< 0.01"
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def print_plan(costs: Sequence[StageCost], rate: float, console: Console, guessed: bool = False) -> None:
    """One line a stage, and the sums that matter: disk adds up, memory does not; `guessed`: see `guesses_text`."""
    grid = Grid(header_style="bold")
    grid.add_column("stage")
    for heading in ("downloads", "disk", "memory", "hours"):
        grid.add_column(heading, justify="right")
    total = StageCost(
        "all",
        sum(cost.download for cost in costs),
        sum(cost.disk for cost in costs),
        max((cost.memory for cost in costs), default=0.0),
        sum(cost.seconds for cost in costs),
    )
    for cost in [*costs, total]:
        sizes = (format_bytes(value) for value in (cost.download, cost.disk, cost.memory))
        grid.add_row(cost.stage, *sizes, _hours(cost.seconds), end_section=cost is costs[-1])
    console.print(grid)
    console.print(
        f"reckoned at {rate / 1e9:,.0f} Gflop/s, a float32 matmul measured just now on this device", highlight=False
    )
    if guessed:
        console.print(
            f"text: its files at {BYTES_PER_TEXT_TOKEN:.0f} bytes a token; corpus.max_tokens would bound it",
            highlight=False,
        )
