"""Do clusters of gradients find what was planted? Multitask sparse parity, and the rules of `truth.py`'s families.

Parity: a small network learns parities whose frequencies fall with their rank; its samples are clustered by their
gradients and held against the tasks, and the step at which each task emerges against 1 / frequency. Rules: tokens
that a rule determines and that a snapshot in mid-training predicts, at the frequencies of the text, are clustered by
the gradients of their losses and held against the rules; each quantum's emergence against the step at which its rule
was learned. Both with signed gradients and |g|, with both affinities and average linkage, beside clusterings that
need no gradient.

    python -m benchmarks.quanta_truth [--seed N ...] [--workspace DIR] [--quick] [--json OUT]
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quanta_rules import score_rules
from benchmarks.quanta_scores import PARTITIONS, Scores, score_labels, score_similarity
from benchmarks.timing import Line, Ratio
from benchmarks.truth_setting import Setting, open_setting
from ontogeny.quanta.sparse_parity import ParityConfig, ParityRun, compute_parity_similarity, train_parity
from ontogeny.workspace import Workspace, write_json

SEEDS = (1, 2)
PER_TASK = 15
"""Samples a task in the even sample."""
N_SAMPLES = 300
"""Samples at the tasks' frequencies."""
CHOSEN_PARITY = {"even": ("white |g|", "regularised"), "by frequency": ("white |g|", "linkage")}
CHOSEN_RULES = ("|g| + curves", "linkage")
GOALS = {"ari, parity": 0.9, "ari, rules": 0.6, "spearman, rules": 0.8}


def score_parity(seed: int, quick: bool) -> dict[str, Any]:
    """Clusters of the samples of tasks that emerged, and the law of emergence."""
    config = ParityConfig(seed=seed, n_tasks=6, steps=600, lr=4e-3) if quick else ParityConfig(seed=seed)
    run = train_parity(config)
    steps = run.emergence()
    emerged = torch.from_numpy(np.flatnonzero(~np.isnan(steps)))
    found: dict[str, Any] = {"seed": seed, "emerged": len(emerged), "steps": steps.tolist()}
    if len(emerged) > 2:
        law = run.emergence_law()
        found |= {"slope": law.exponent, "slope se": law.exponent_se, "n": law.n, "r2": law.r2}
        chance = run.tasks.frequency[emerged]
        drawn = emerged[torch.multinomial(chance, N_SAMPLES, replacement=True, generator=run.tasks.generator)]
        samples = {"even": emerged.repeat_interleave(PER_TASK), "by frequency": drawn}
        found["samples"] = {name: _score_samples(run, tasks, seed) for name, tasks in samples.items()}
    return found


def _score_samples(run: ParityRun, tasks: torch.Tensor, seed: int) -> dict[str, Scores]:
    """Every way to compare and to cluster, and clusters of the inputs and of random labels."""
    inputs, targets = run.tasks.draw(tasks)
    truth = tasks.numpy()
    count = len(np.unique(truth))
    scores: dict[str, Scores] = {}
    for whitened in (False, True):
        for entries, name in (("signed", "signed"), ("absolute", "|g|")):
            similarity = compute_parity_similarity(run, inputs, targets, entries, whitened)  # type: ignore[arg-type]
            scores |= score_similarity(("white " if whitened else "") + name, similarity, truth, count)
    unit = torch.nn.functional.normalize(inputs.double(), dim=1)
    scores |= score_similarity("inputs alone", (unit @ unit.T).clamp(-1, 1).numpy(), truth, count)
    hidden = torch.nn.functional.normalize(run.network[:2](inputs).detach().double(), dim=1)
    scores |= score_similarity("hidden units", (hidden @ hidden.T).clamp(-1, 1).numpy(), truth, count)
    random = np.random.default_rng(seed).permutation(truth)
    return scores | {"random labels": score_labels(random, truth)}


def score_quanta(setting: Setting, seed: int, quick: bool) -> dict[str, Any]:
    """Everything of one seed."""
    return {"seed": seed, "parity": score_parity(seed, quick), "rules": score_rules(setting, seed)}


def make_quanta_lines(answers: Sequence[dict[str, Any]]) -> list[Line]:
    """The measures that the goals are for, and the slope of emergence."""
    parity = [each["parity"] for each in answers]
    rules = [each["rules"] for each in answers]
    lines = []
    for sample, chosen in CHOSEN_PARITY.items():
        found = [each["samples"][sample][", ".join(chosen)]["ari"] for each in parity]
        lines.append(_line(f"parity, {sample}", ", ".join(chosen), "ari", found, GOALS["ari, parity"]))
    lines.append(_line("parity", "emergence, log step on log frequency", "slope", [each["slope"] for each in parity]))
    for step in rules[0]["steps"]:
        here = [each["steps"][step]["scores"] for each in rules]
        for name in (", ".join(CHOSEN_RULES), "|g|, linkage", "loss curves, linkage", "token id", "random labels"):
            goal = GOALS["ari, rules"] if name == ", ".join(CHOSEN_RULES) else None
            lines.append(_line(f"rules at step {step}", name, "ari", [each[name]["ari"] for each in here], goal))
    spearman = [each["emergence"]["spearman"] for each in rules]
    lines.append(_line("rules", "emergence of quanta", "spearman", spearman, GOALS["spearman, rules"]))
    lines.append(
        _line("rules", "the same of the planted labels", "spearman", [each["emergence"]["ceiling"] for each in rules])
    )
    return lines


def _line(part: str, case: str, measure_name: str, values: Sequence[float | None], goal: float | None = None) -> Line:
    known = [value for value in values if value is not None]
    ratio = Ratio(float(np.median(known)), min(known), max(known)) if known else None
    return Line(
        "truth", f"quanta, {part}: {case}", measure_name, ratio, None, goal, "at_least", "" if known else "none"
    )


def format_quanta(answers: Sequence[dict[str, Any]]) -> str:
    """Tables of all ways to compare and to cluster, a seed after the other."""
    parts = []
    for each in answers:
        parity, rules = each["parity"], each["rules"]
        law = f"step ~ frequency^{parity['slope']:.2f} (se {parity['slope se']:.2f})" if "slope" in parity else ""
        parts.append(f"quanta, seed {each['seed']}: parity, {parity['emerged']} tasks emerged {law}")
        for sample, scores in parity.get("samples", {}).items():
            parts.append(f"  {sample}: ARI / AMI by {', '.join(PARTITIONS)}\n{_format_scores(scores)}")
        for step, found in rules["steps"].items():
            head = f"  rules at step {step}: {found['n']} tokens of {found['rules']} rules"
            parts.append(f"{head}\n{_format_scores(found['scores'])}")
        told = {name: _show(value) for name, value in rules["emergence"].items()}
        parts.append(
            f"  emergence of {told['n']} quanta against their rules: Spearman {told['spearman']} (p {told['p']}), with "
            f"the planted labels {told['ceiling']}; {told['error']} octaves off"
        )
    return "\n".join(parts)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value == round(value) else f"{value:.2f}"


def _format_scores(scores: dict[str, Scores]) -> str:
    kinds = dict.fromkeys(name.split(", ")[0] for name in scores)
    lines = []
    for kind in kinds:
        cells = [scores.get(f"{kind}, {partition}") for partition in PARTITIONS]
        if all(cell is None for cell in cells):
            cells = [scores[kind]]
        told = "  ".join(f"{cell['ari']:.2f} / {cell['ami']:.2f}" for cell in cells if cell is not None)
        lines.append(f"    {kind.ljust(16)}{told}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quanta_truth", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seed", type=int, action="append", help="one world and family; may be repeated")
    parser.add_argument("--workspace", type=Path, help="where artifacts stay, and are found again")
    parser.add_argument("--quick", action="store_true", help="too small to learn: only tries the way")
    parser.add_argument("--json", type=Path, help="write everything here as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = options.workspace or Path(folder)
        answers = [
            score_quanta(open_setting(seed, Workspace(place), options.quick), seed, options.quick)
            for seed in options.seed or SEEDS
        ]
    print(format_quanta(answers))
    if options.json:
        write_json(options.json, {"answers": answers})


if __name__ == "__main__":
    main()
