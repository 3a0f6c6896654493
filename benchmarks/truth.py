"""The whole chain against planted truth: grow, harvest, train, follow the latents, and see what was there to be found.

A family is grown on a language that changes at a planned step (`recipes/rules-truth.toml`), one crosscoder is trained
for each hook point, and the units of all three together are held against the rules. Beside it: single neurons,
principal components, an SAE per snapshot, and the same crosscoders on shuffled snapshots. Recall: share of the rules
that the models learned for which a unit of their own (Hungarian) has MCC >= 0.7 on tokens that chose no threshold.

    python -m benchmarks.truth [--seed N ...] [--workspace DIR] [--quick] [--json OUT]

Some 12 minutes on two idle cores. A workspace keeps what is done; without one a temporary folder is used.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quanta_truth import format_quanta, make_quanta_lines, score_quanta
from benchmarks.timing import Line
from benchmarks.truth_baselines import Contender, components, crosscoder, neurons, snapshot_saes
from benchmarks.truth_courses import FATES, Courses, by_own_strength, by_prediction
from benchmarks.truth_setting import Setting, open_setting, read_probes
from benchmarks.truth_table import format_answers, make_lines
from benchmarks.truth_text import HeldOutText, open_text
from ontogeny.analyses.rules.judgement import Judgement, Matches, judge_rules
from ontogeny.analyses.rules.scores import MATCH, ceil_to_grid, score_classes, score_times
from ontogeny.dictionaries.crosscoder import Crosscoder, load_dictionary
from ontogeny.pipeline import harvest, open_run
from ontogeny.pipeline import train as train_stage
from ontogeny.tokens.rules.plan import Fate
from ontogeny.workspace import Workspace, read_json, write_json

SEEDS = (1, 2)
FAIR_MATCH = 0.5


def train_crosscoder(setting: Setting, hook_point: str, shuffled: bool) -> Crosscoder:
    """The crosscoder over all snapshots at one hook point, by the pipeline."""
    assert setting.recipe.training is not None
    training = setting.recipe.training.model_copy(update={"shuffle_snapshots": shuffled})
    update = {"reads": (hook_point,), "training": training, "name": f"{setting.recipe.name} {hook_point}"}
    run = open_run(setting.recipe.model_copy(update=update), setting.workspace)
    return load_dictionary(train_stage(run).path)


def gather(setting: Setting, text: HeldOutText, folder: Path) -> dict[str, list[Contender]]:
    """All contenders: for each hook point a crosscoder, its shuffled control, components and SAEs; and the neurons."""
    activations, structure, training = setting.recipe.activations, setting.recipe.dictionary, setting.recipe.training
    assert activations is not None and structure is not None and training is not None
    half_as_long = training.model_copy(update={"steps": training.total_steps // 2})
    x, sources = read_probes(setting, activations.hook_points), text.harvested.sources
    contenders: dict[str, list[Contender]] = {"crosscoder": [], "crosscoder, shuffled snapshots": []}
    contenders |= {"SAE per snapshot": [], "principal components": []}
    batches = [batch.x.float() for batch in text.harvested.training.iter_batches(1024, epochs=1)]
    for number, hook_point in enumerate(activations.hook_points):
        held = text.read(hook_point)
        for shuffled, name in enumerate(("crosscoder", "crosscoder, shuffled snapshots")):
            dictionary = train_crosscoder(setting, hook_point, bool(shuffled))
            contenders[name].append(crosscoder(dictionary, x[hook_point], held))
        chosen = [place for place, source in enumerate(sources) if str(source.hook_point) == hook_point]
        train_x = torch.cat([batch[:, chosen] for batch in batches])
        n_latents = structure.latents_for(train_x.shape[2])
        contenders["principal components"].append(components(train_x[:30_000], x[hook_point], held, n_latents))
        every_other = range(len(setting.series))[1::2]
        contenders["SAE per snapshot"] += snapshot_saes(
            train_x, x[hook_point], held, every_other, structure, half_as_long, folder / str(number)
        )
    probes = (np.asarray(setting.probes.corpus.tokens), *setting.cells)
    return {**contenders, "best neuron": neurons(setting.series, probes, text.cells)}


@dataclass(frozen=True)
class Scored:
    """What a contender reached: one number a measure, and what it says of every rule."""

    measures: dict[str, float]
    rules: list[dict[str, Any]]


def score(setting: Setting, text: HeldOutText, contenders: Sequence[Contender]) -> Scored:
    """Match, date and judge the units of several dictionaries together."""
    plan, known = setting.stages[0].plan, ~np.isnan(setting.learned)
    matches = Matches.join([Matches.of(c.units, setting.targets, len(plan), setting.half) for c in contenders])
    courses = Courses.join([by_prediction(setting, text.predict(each.fires)) for each in contenders])
    own = Courses.join([by_own_strength(setting, each) for each in contenders])
    judged = judge_rules(matches, setting.rival, courses.inside, known & ~np.isnan(matches.chosen).all(axis=1))
    with np.errstate(invalid="ignore"):
        found = known & (judged.mcc >= MATCH)
    never, noise = (np.array([each.fate == fate for each in plan]) for fate in (Fate.NEVER, Fate.NOISE))
    measures = {
        "recall": _mean(found[known]),
        "recall beyond one token": _mean((found & (judged.mcc > setting.rival))[known]),
        "mean mcc": _mean(judged.mcc[known]),
        **score_courses(setting, matches, judged, found, courses),
        "claims on learned rules": float(judged.claimed[known].sum()),
        "claims on never-trained rules": float(judged.claimed[never].sum()),
        "claims on noise": float(judged.claimed[noise].sum()),
        "claims on rules not learned": float(judged.claimed[~known & ~never & ~noise].sum()),
    }
    measures |= {f"{key}, by own strength": value for key, value in
                 score_courses(setting, matches, judged, found, own).items()}  # fmt: skip
    return Scored(measures, describe_rules(setting, judged, courses, date_rules(matches, courses)))


def score_courses(
    setting: Setting, matches: Matches, judged: Judgement, found: np.ndarray, courses: Courses
) -> dict[str, float]:
    """Times and fates of the found rules as courses tell them."""
    times = score_times(np.where(found, date_rules(matches, courses), np.nan), setting.learned)
    alone = score_times(np.where(found, 2 ** courses.half_rise[judged.unit] - 1, np.nan), setting.learned)
    chosen, truth = np.flatnonzero(found), setting.fates()
    f1 = score_classes([courses.fate[judged.unit[rule]] for rule in chosen], [truth[rule] for rule in chosen])
    return {
        "spearman": times.spearman,
        "spearman p": times.p,
        "error in octaves": times.error,
        "lag in octaves": times.lag,
        "rules dated": times.n,
        "spearman, by its one unit": alone.spearman,
        "error in octaves, by its one unit": alone.error,
        **{f"F1 {fate}": f1.get(str(fate), float("nan")) for fate in FATES},
    }


def describe_rules(setting: Setting, judged: Judgement, courses: Courses, dates: np.ndarray) -> list[dict[str, Any]]:
    """What is said of every rule; `dates` [rule]: the steps at which its units rise together."""
    plan, truth, learned = setting.stages[0].plan, setting.fates(), setting.learned
    return [
        {
            "rule": plan[rule].name,
            "fate": truth[rule],
            "found fate": courses.fate[judged.unit[rule]] if judged.unit[rule] >= 0 else None,
            "mcc": float(judged.mcc[rule]),
            "one token": float(setting.rival[rule]),
            "learned": float(learned[rule]),
            "found": float(dates[rule]),
            "by one unit": float(2 ** courses.half_rise[judged.unit[rule]] - 1),
            "claimed": bool(judged.claimed[rule]),
        }
        for rule in range(len(plan))
    ]


def date_rules(matches: Matches, courses: Courses) -> np.ndarray:
    """The step [rule] at which the units that say a rule with MCC >= 0.5 (where chosen) rise together."""
    chosen = np.nan_to_num(matches.chosen, nan=-1.0)
    return np.array([2 ** courses.date_together(np.flatnonzero(row >= FAIR_MATCH)) - 1 for row in chosen])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def ceiling(setting: Setting) -> dict[str, float]:
    """What one who knows the truth could reach on this grid of snapshots, over all learned rules."""
    grid = np.array(setting.series.steps, dtype=np.float64)
    times = score_times(ceil_to_grid(setting.learned, grid), setting.learned)
    return {"spearman": times.spearman, "error in octaves": times.error, "rules dated": times.n}


def answer(seed: int, workspace: Path, quick: bool) -> dict[str, Any]:
    """Everything of one seed, as it is written to JSON."""
    setting = open_setting(seed, Workspace(workspace), quick)
    harvested = harvest(open_run(setting.recipe, setting.workspace))
    with tempfile.TemporaryDirectory() as folder:
        text = open_text(setting, harvested, Path(folder))
        scored = {name: score(setting, text, each) for name, each in gather(setting, text, Path(folder)).items()}
    found = {
        "seed": seed,
        "learned": int((~np.isnan(setting.learned)).sum()),
        "truth": setting.truth.to_rows(),
        "ceiling": ceiling(setting),
        "measures": {name: each.measures for name, each in scored.items()},
        "rules": {name: each.rules for name, each in scored.items()},
        "quanta": score_quanta(setting, seed, quick),
    }
    return dict(_without_nan(found))


def _without_nan(value: Any) -> Any:
    """What JSON can hold: missing numbers are null."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def measure(full: bool) -> list[Line]:
    """The lines of this question: each contender's measures, median and range over the seeds."""
    with tempfile.TemporaryDirectory() as folder:
        answers = answer_side_by_side(SEEDS, Path(folder), quick=False)
    return make_lines(answers) + make_quanta_lines([each["quanta"] for each in answers])


def answer_side_by_side(seeds: Sequence[int], workspace: Path, quick: bool) -> list[dict[str, Any]]:
    """A process a seed, each on one thread: models this small do not gain from a second one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    running = []
    for seed in seeds:
        command = [sys.executable, "-m", "benchmarks.truth", "--seed", str(seed), "--workspace", str(workspace)]
        command += ["--json", str(workspace / f"truth{seed}.json"), *(["--quick"] if quick else [])]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in running]
    for seed, code in zip(seeds, codes, strict=True):
        if code:
            raise subprocess.CalledProcessError(code, f"benchmarks.truth --seed {seed}")
    return [each for seed in seeds for each in read_json(workspace / f"truth{seed}.json")["answers"]]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, action="append", help="one world and family; may be repeated")
    parser.add_argument("--workspace", type=Path, help="where artifacts stay, and are found again")
    parser.add_argument("--quick", action="store_true", help="a family too small to learn: only tries the way")
    parser.add_argument("--json", type=Path, help="write everything here as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = options.workspace or Path(folder)
        seeds = options.seed or SEEDS
        if len(seeds) > 1:
            answers = answer_side_by_side(seeds, place, options.quick)
        else:
            answers = [answer(seeds[0], place, options.quick)]
    print(format_answers(answers))
    print(format_quanta([each["quanta"] for each in answers]))
    if options.json:
        write_json(options.json, {"answers": answers})


if __name__ == "__main__":
    main()
