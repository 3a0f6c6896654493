"""Inputs for tracing circuits: the tiny snapshots, a dictionary at each of two hook points, pairs in a file."""

import dataclasses
from pathlib import Path

from analyses.tiny_behaviours import tiny_inputs
from interventions.tiny_edges import END, START
from interventions.tiny_prompts import NAMES, tiny_dictionary
from ontogeny.analyses import AnalysisInputs
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.types import HookPoint, Source


def circuit_inputs(folder: Path, points: tuple[HookPoint, ...] = (END,), gate: str = "shared") -> AnalysisInputs:
    """A run whose dictionary lies at some hook points; `others` has one over the same snapshots, by the name first."""
    inputs = tiny_inputs(folder, tiny_dictionary(5, "topk", gate))
    sources = tuple(Source(snapshot, point) for snapshot in inputs.series.snapshots for point in points)
    inputs.held_out.sources = sources
    return dataclasses.replace(inputs, others={"first": tiny_dictionary(3, "topk")})


def rename(dictionary: Crosscoder, names: tuple[str, ...]) -> Crosscoder:
    """The same dictionary with other names of its sources."""
    dictionary.sources_in = dictionary.sources_out = names
    return dictionary


def full_names(point: HookPoint = START) -> tuple[str, ...]:
    """The sources' full names at a hook point."""
    return tuple(f"{name}:{point}" for name in NAMES)
