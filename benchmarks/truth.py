"""The whole chain against planted truth: grow, harvest, train, follow the latents, and see what was there to be found.

A family is grown on a language that changes at a planned step (`recipes/rules-truth.toml`), one crosscoder is trained
for each hook point, and the units of all three together are held against the rules. Beside it: single neurons,
principal components, an SAE per snapshot, and the same crosscoders on shuffled snapshots. Recall: share of the rules
that the models learned for which a unit of their own (Hungarian) has MCC >= 0.7 on tokens that chose no threshold.

    python -m benchmarks.truth [--seed N ...] [--workspace DIR] [--quick] [--json OUT]

Some 6 minutes a seed on an idle core. A workspace keeps what is done; without one a temporary folder is used.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import Line, Ratio
from benchmarks.truth_baselines import Contender, components, crosscoder, neurons, snapshot_saes
from ontogeny.analyses.rules.judgement import Matches, judge_rules, rivals
from ontogeny.analyses.rules.scores import MATCH, ceil_to_grid, score_classes, score_times
from ontogeny.analyses.rules.targets import RuleTargets, build_targets, predicted_cells
from ontogeny.dictionaries.crosscoder import Crosscoder, load_dictionary
from ontogeny.latents.times import compute_time_axis
from ontogeny.latents.trajectories import CLASSES, Lives, compute_lives
from ontogeny.pipeline import Run, grow, harvest, open_run, open_snapshots
from ontogeny.pipeline import train as train_stage
from ontogeny.recipe import Recipe, load_recipe, recipe_folder
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.rule_losses import measure_rule_truth
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.rules.plan import Fate
from ontogeny.tokens.rules.probes import ProbeSet, build_probes
from ontogeny.tokens.rules.truth import RuleTruth
from ontogeny.tokens.rules.world import RulesWorld, build_stages
from ontogeny.types import HookPoint
from ontogeny.workspace import Workspace, write_json

Direction = Literal["at_least", "at_most"]
SEEDS = (1, 2)
GOALS = {"recall": 0.8, "spearman": 0.8, "claims on never-trained rules": 0}
QUICK = {"family.steps": "60", "family.d_model": "32", "training.steps": "20", "corpus.max_tokens": "20000"}
QUICK_STEPS = "[0, 8, 16, 32, 45, 60]"
N_PROBES, N_TRUTH_PROBES = 64, 24
FATES = (Fate.PERSISTS, Fate.EMERGES, Fate.VANISHES, Fate.REPURPOSED)


@dataclass(frozen=True)
class Setting:
    """One seed's family with its truth, and the probe tokens on which everything is scored."""

    recipe: Recipe
    workspace: Workspace
    stages: tuple[RulesWorld, ...]
    truth: RuleTruth
    series: SnapshotSeries
    probes: ProbeSet
    cells: tuple[np.ndarray, np.ndarray]
    targets: RuleTargets
    half: np.ndarray
    rival: np.ndarray

    @property
    def names(self) -> list[str]:
        """Rules by number."""
        return self.stages[0].names

    @property
    def learned(self) -> np.ndarray:
        """The step at which each rule was first learned, NaN for one that was not; [rule]."""
        steps = np.full(len(self.names), np.nan)
        for version, step in zip(self.truth.versions, self.truth.learned, strict=True):
            steps[version.rule] = np.fmin(steps[version.rule], step)
        return steps

    @property
    def time(self) -> np.ndarray:
        """Octaves of training at the series' snapshots."""
        return compute_time_axis(self.series.steps, [None] * len(self.series)).log

    def fates(self) -> list[str]:
        """What became of each rule: its plan, as far as the models followed it (some keep a rule that vanished)."""
        found = []
        for number, plan in enumerate(self.stages[0].plan):
            lost = [step for v, step in zip(self.truth.versions, self.truth.lost, strict=True) if v.rule == number]
            kept = plan.fate == Fate.VANISHES and np.isnan(lost[0])
            found.append(str(Fate.PERSISTS if kept else plan.fate))
        return found


def open_setting(seed: int, workspace: Workspace, quick: bool) -> Setting:
    """Grow the family, measure the truth on all of its snapshots, and lay out the probes."""
    seeds = {f"{key}.seed": str(seed) for key in ("family.sources.0.rules", "corpus.sources.0.rules", "family")}
    overrides = {**seeds, "training.seed": str(seed)}
    if quick:
        changes = {f"{part}.sources.0.rules.changes.{change}_step": "30" for part in ("family", "corpus")
                   for change in ("emerge", "vanish", "remap")}  # fmt: skip
        overrides |= QUICK | changes | {"series.steps": QUICK_STEPS, "family.per_octave": "2"}
    recipe = load_recipe(recipe_folder() / "rules-truth.toml", overrides.items(), env={})
    run = open_run(recipe, workspace)
    family = grow(run)
    assert recipe.family is not None
    stages = build_stages(recipe.family.sources[0].rules)
    everything = open_series(SeriesConfig(folders=f"{family.path}/step*"))
    probes = build_probes(stages, 8 if quick else N_PROBES)
    row, column = predicted_cells(probes.corpus, np.arange(probes.corpus.n_rows))
    targets = build_targets(probes.corpus, stages[0], row, column)
    half = np.random.default_rng(seed).random(probes.corpus.n_rows)[row] < 0.5
    tokens, position = (np.asarray(each)[row, column] for each in (probes.corpus.tokens, probes.corpus.position))
    return Setting(
        recipe=recipe,
        workspace=workspace,
        stages=stages,
        truth=measure_rule_truth(everything, stages, 4 if quick else N_TRUTH_PROBES),
        series=open_snapshots(run),
        probes=probes,
        cells=(row, column),
        targets=targets,
        half=half,
        rival=rivals(tokens, position, targets, len(stages[0].names), half),
    )


def read_probes(setting: Setting, hook_points: Sequence[str]) -> dict[str, Tensor]:
    """Activations [token source d_model] of every snapshot on the probes' cells, by hook point."""
    tokens = torch.from_numpy(np.asarray(setting.probes.corpus.tokens, dtype=np.int64))
    places = {name: HookPoint.parse(name) for name in hook_points}
    found: dict[str, list[Tensor]] = {name: [] for name in hook_points}
    for index in range(len(setting.series)):
        with torch.no_grad():
            read = setting.series.open(index).read(tokens, list(places.values()))
        for name, place in places.items():
            found[name].append(read[place][setting.cells])
    return {name: torch.stack(parts, dim=1) for name, parts in found.items()}


def train_crosscoder(setting: Setting, hook_point: str, shuffled: bool) -> tuple[Run, Crosscoder]:
    """The crosscoder over all snapshots at one hook point, by the pipeline."""
    assert setting.recipe.training is not None
    training = setting.recipe.training.model_copy(update={"shuffle_snapshots": shuffled})
    update = {"reads": (hook_point,), "training": training, "name": f"{setting.recipe.name} {hook_point}"}
    run = open_run(setting.recipe.model_copy(update=update), setting.workspace)
    return run, load_dictionary(train_stage(run).path)


def gather(setting: Setting, folder: Path) -> dict[str, list[Contender]]:
    """All contenders: for each hook point a crosscoder, its shuffled control, components and SAEs; and the neurons."""
    activations, structure, training = setting.recipe.activations, setting.recipe.dictionary, setting.recipe.training
    assert activations is not None and structure is not None and training is not None
    hook_points, half_as_long = (
        activations.hook_points,
        training.model_copy(update={"steps": training.total_steps // 2}),
    )
    x = read_probes(setting, hook_points)
    everywhere = tuple(range(len(setting.series)))
    contenders: dict[str, list[Contender]] = {"crosscoder": [], "crosscoder, shuffled snapshots": []}
    for shuffled, name in enumerate(contenders):
        for hook_point in hook_points:
            run, dictionary = train_crosscoder(setting, hook_point, bool(shuffled))
            contenders[name].append(crosscoder(dictionary, x[hook_point]))
    parts: dict[str, list[Contender]] = {"SAE per snapshot": [], "principal components": []}
    batches = [batch.x.float() for batch in harvest(run).training.iter_batches(1024, epochs=1)]
    for number, hook_point in enumerate(hook_points):
        chosen = [place for place, source in enumerate(harvest(run).sources) if str(source.hook_point) == hook_point]
        train_x = torch.cat([batch[:, chosen] for batch in batches])
        n_latents = structure.latents_for(train_x.shape[2])
        parts["principal components"].append(components(train_x[:30_000], x[hook_point], n_latents))
        parts["SAE per snapshot"] += snapshot_saes(
            train_x, x[hook_point], everywhere[1::2], structure, half_as_long, folder / str(number)
        )
    single = neurons(setting.series, np.asarray(setting.probes.corpus.tokens), *setting.cells)
    return {**contenders, **parts, "best neuron": single}


@dataclass(frozen=True)
class Scored:
    """What a contender reached: one number a measure, and what it says of every rule."""

    measures: dict[str, float]
    rules: list[dict[str, Any]]


def score(setting: Setting, contenders: Sequence[Contender]) -> Scored:
    """Match, date and judge the units of several dictionaries together."""
    plan, learned, time = setting.stages[0].plan, setting.learned, setting.time
    known = ~np.isnan(learned)
    matches = Matches.join([Matches.of(c.units, setting.targets, len(plan), setting.half) for c in contenders])
    lives = [compute_lives(each.strength, time[list(each.places)]) for each in contenders]
    inside, rise = (np.concatenate(each) for each in zip(*((life.onset > 0, life.half_rise) for life in lives)))
    fates = [fate for each, life in zip(contenders, lives, strict=True) for fate in read_fates(each, life)]
    judged = judge_rules(matches, setting.rival, inside, known & ~np.isnan(matches.chosen).all(axis=1))
    with np.errstate(invalid="ignore"):
        found = known & (judged.mcc >= MATCH)
    said = np.where(found, 2 ** rise[judged.unit] - 1, np.nan)
    times = score_times(said, learned)
    never, noise = (np.array([each.fate == fate for each in plan]) for fate in (Fate.NEVER, Fate.NOISE))
    truth = setting.fates()
    chosen = np.flatnonzero(found)
    f1 = score_classes([fates[judged.unit[rule]] for rule in chosen], [truth[rule] for rule in chosen])
    measures = {
        "recall": _mean(found[known]),
        "recall beyond one token": _mean((found & (judged.mcc > setting.rival))[known]),
        "mean mcc": _mean(judged.mcc[known]),
        "spearman": times.spearman,
        "spearman p": times.p,
        "error in octaves": times.error,
        "lag in octaves": times.lag,
        "rules dated": times.n,
        "claims on learned rules": float(judged.claimed[known].sum()),
        "claims on never-trained rules": float(judged.claimed[never].sum()),
        "claims on noise": float(judged.claimed[noise].sum()),
        "claims on rules not learned": float(judged.claimed[~known & ~never & ~noise].sum()),
        **{f"F1 {fate}": f1.get(str(fate), float("nan")) for fate in FATES},
    }
    rows = [
        {
            "rule": plan[rule].name,
            "fate": truth[rule],
            "found fate": fates[judged.unit[rule]] if judged.unit[rule] >= 0 else None,
            "mcc": float(judged.mcc[rule]),
            "one token": float(setting.rival[rule]),
            "learned": float(learned[rule]),
            "found": float(2 ** rise[judged.unit[rule]] - 1),
            "claimed": bool(judged.claimed[rule]),
        }
        for rule in range(len(plan))
    ]
    return Scored(measures, rows)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def read_fates(contender: Contender, lives: Lives) -> list[str]:
    """What a unit's life says of its rule: late-specific -> emerges; gone before the end -> vanishes; its direction
    turns after its onset -> re-purposed; else it persists."""
    turns = np.full(len(lives.onset), -1) if contender.turns is None else contender.turns
    held = [lives.kind == CLASSES.index("late-specific"), lives.vanish >= 0, turns > np.maximum(lives.onset, 0)]
    return [str(fate) for fate in np.select(held, [FATES[1], FATES[2], FATES[3]], FATES[0])]


def ceiling(setting: Setting) -> dict[str, float]:
    """What one who knows the truth could reach on this grid of snapshots, over all learned rules."""
    grid = np.array(setting.series.steps, dtype=np.float64)
    times = score_times(ceil_to_grid(setting.learned, grid), setting.learned)
    return {"spearman": times.spearman, "error in octaves": times.error, "rules dated": times.n}


def answer(seed: int, workspace: Path, quick: bool) -> dict[str, Any]:
    """Everything of one seed, as it is written to JSON."""
    setting = open_setting(seed, Workspace(workspace), quick)
    with tempfile.TemporaryDirectory() as folder:
        scored = {name: score(setting, each) for name, each in gather(setting, Path(folder)).items()}
    return {
        "seed": seed,
        "learned": int((~np.isnan(setting.learned)).sum()),
        "truth": setting.truth.to_rows(),
        "ceiling": ceiling(setting),
        "measures": {name: each.measures for name, each in scored.items()},
        "rules": {name: each.rules for name, each in scored.items()},
    }


def measure(full: bool) -> list[Line]:
    """The lines of this question: each contender's measures, median and range over the seeds."""
    with tempfile.TemporaryDirectory() as folder:
        return make_lines([answer(seed, Path(folder), quick=False) for seed in SEEDS])


def make_lines(answers: Sequence[dict[str, Any]]) -> list[Line]:
    """One line a contender and measure; the crosscoder's are held to the goals."""
    seeds = ", ".join(str(each["seed"]) for each in answers)
    lines = []
    for name, first in answers[0]["measures"].items():
        for key in first:
            values = [each["measures"][name][key] for each in answers]
            goal = GOALS.get(key) if name == "crosscoder" else None
            known = [value for value in values if not np.isnan(value)]
            ratio = Ratio(float(np.median(known)), min(known), max(known)) if known else None
            reason = "" if known else "nothing to date or to tell apart"
            direction: Direction = "at_most" if key.startswith("claims") else "at_least"
            lines.append(Line("truth", name, f"{key}, seeds {seeds}", ratio, None, goal, direction, reason))
    for key in answers[0]["ceiling"]:
        values = [each["ceiling"][key] for each in answers]
        ratio = Ratio(float(np.median(values)), min(values), max(values))
        lines.append(Line("truth", "ceiling of the grid of snapshots", key, ratio))
    return lines


def format_answers(answers: Sequence[dict[str, Any]]) -> str:
    """One table a seed: a column a contender and the ceiling beside it; then the crosscoder's rules."""
    parts = []
    for each in answers:
        names = [*each["measures"], "ceiling"]
        keys = list(each["measures"]["crosscoder"])
        table = {**each["measures"], "ceiling": each["ceiling"]}
        rows = [["", *names]] + [[key, *(_show(table[name].get(key)) for name in names)] for key in keys]
        rules = [list(each["rules"]["crosscoder"][0])]
        rules += [[_show(value) for value in row.values()] for row in each["rules"]["crosscoder"]]
        parts.append(f"seed {each['seed']}: {each['learned']} rules learned\n{_align(rows)}\n\n{_align(rules)}\n")
    return "\n".join(parts)


def _show(value: float | str | None) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.0f}" if value == round(value) else f"{value:.2f}"
    return "" if value is None else str(value)


def _align(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, action="append", help="one world and family; may be repeated")
    parser.add_argument("--workspace", type=Path, help="where artifacts stay, and are found again")
    parser.add_argument("--quick", action="store_true", help="a family too small to learn: only tries the way")
    parser.add_argument("--json", type=Path, help="write everything here as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = options.workspace or Path(folder)
        answers = []
        for seed in options.seed or SEEDS:
            print(f"seed {seed} ...", file=sys.stderr, flush=True)
            answers.append(answer(seed, place, options.quick))
    print(format_answers(answers))
    if options.json:
        write_json(options.json, answers)


if __name__ == "__main__":
    main()
