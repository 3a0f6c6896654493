"""Inputs for analyses of behaviours: two tiny snapshots with a tokenizer of words, pairs in a file, a dictionary."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from interventions.tiny_prompts import tiny_dictionary
from interventions.tiny_series import HOOK_POINT, tiny_series
from ontogeny.analyses import AnalysisInputs
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.results import Result, load_result, save_result
from ontogeny.tokens.pairs.config import BehaviourConfig
from ontogeny.tokens.vocabulary import closed_tokenizer
from ontogeny.types import Source

WORDS = [f"w{number}" for number in range(1, 36)]


def tiny_inputs(folder: Path, dictionary: Crosscoder | None = None) -> AnalysisInputs:
    """What the pipeline would open, less what analyses of behaviours do not look at."""
    series = tiny_series(folder / "family")
    closed_tokenizer(WORDS).save_pretrained(folder / "family" / "step8")
    sources = tuple(Source(snapshot, HOOK_POINT) for snapshot in series.snapshots)
    held_out: Any = SimpleNamespace(sources=sources)
    scratch = folder / "scratch"
    scratch.mkdir()
    nothing: Any = None
    made = tiny_dictionary() if dictionary is None else dictionary
    return AnalysisInputs(made, nothing, held_out, series, None, scratch, "cpu")


def write_pairs(path: Path, n: int = 24, patch: bool = True, seed: int = 0, swap: bool = False) -> BehaviourConfig:
    """Random prefixes with two answers; `swap` exchanges the answers of half the clusters at random."""
    draw = np.random.default_rng(seed)
    lines = []
    for number in range(n):
        words = [WORDS[at] for at in draw.integers(0, len(WORDS), 5)]
        other = [words[0], WORDS[(WORDS.index(words[1]) + 1 + number % 7) % len(WORDS)], *words[2:]]
        answers = [" w1", " w2"]
        if swap and draw.random() < 0.5:
            answers.reverse()
        row = {
            "clean_prefix": " ".join(words),
            "right": answers[0],
            "wrong": answers[1],
            "cluster": f"c{number // 2}",
            "phenomenon": f"kind {number % 2}",
            "sentences": [" ".join(words) + answers[0], " ".join(words) + answers[1]],
        }
        if patch:
            row["patch_prefix"] = " ".join(other)
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines), encoding="utf-8")
    return BehaviourConfig(kind="jsonl", path=str(path), name=path.stem)


def saved(result: Result, folder: Path) -> Result:
    """A result as a reader finds it."""
    save_result(result, folder)
    return load_result(folder)
