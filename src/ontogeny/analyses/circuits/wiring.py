"""Which sources edges begin and end in: two hook points of every snapshot, of one dictionary or of two."""

from collections.abc import Sequence
from dataclasses import dataclass

from ontogeny.analyses.circuits.config import CircuitsConfig
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.interventions.sources import source_positions
from ontogeny.interventions.suffix import depth
from ontogeny.latents.times import series_by_hook_point
from ontogeny.types import HookPoint, Snapshot, Source


@dataclass(frozen=True)
class Wire:
    """One snapshot: its source in the dictionary that edges begin in, and in the one that they end in."""

    snapshot: Snapshot
    start: int
    end: int


@dataclass(frozen=True)
class Wiring:
    """Both dictionaries (they may be one), the sources that each may name, and one wire a snapshot, by training."""

    upstream: Crosscoder
    downstream: Crosscoder
    known_upstream: Sequence[Source]
    known_downstream: Sequence[Source]
    points: tuple[HookPoint, HookPoint]
    wires: tuple[Wire, ...]

    @property
    def is_one(self) -> bool:
        """Whether edges begin and end in the same dictionary."""
        return self.upstream is self.downstream


def make_wiring(inputs: AnalysisInputs, config: CircuitsConfig) -> Wiring:
    """Settle where edges begin and end; AnalysisError where that is unclear, or where a snapshot has one end only."""
    own, known = inputs.dictionary, list(inputs.held_out.sources)
    if config.upstream is None:
        first, last = _points_of_one(list(dict.fromkeys(source.hook_point for source in inputs.sources)), config)
        upstream, upper = own, known
    else:
        upstream = inputs.others[config.upstream]
        first, last = _points_of_two(upstream, inputs.sources, config)
        upper = _sources_of(upstream, first, inputs)
        if upstream.d_out != own.d_model:
            raise AnalysisError(
                f"dictionary {config.upstream!r} is of width {upstream.d_out}, these snapshots of {own.d_model}; name "
                "one over the same snapshots as analyses.circuits.upstream."
            )
    if depth(first) >= depth(last):
        raise AnalysisError(f"edges cannot run from {first} to {last}; the first must come before the last.")
    starts, ends = (
        {sources[place].snapshot.label: at for at, place in enumerate(places) if sources[place].hook_point == point}
        for sources, places, point in (
            (upper, source_positions(upper, upstream.sources_out), first),
            (known, source_positions(known, own.sources_out), last),
        )
    )
    _check_same(starts, ends, first, last)
    order = series_by_hook_point([source for source in inputs.sources if source.hook_point == last])[str(last)]
    here = [source for source in inputs.sources if source.hook_point == last]
    wires = [Wire(here[at].snapshot, starts[here[at].snapshot.label], ends[here[at].snapshot.label]) for at in order]
    return Wiring(upstream, own, upper, known, (first, last), tuple(wires))


def _points_of_one(points: Sequence[HookPoint], config: CircuitsConfig) -> tuple[HookPoint, HookPoint]:
    names = ", ".join(map(str, points))
    if config.hook_points is None:
        if len(points) != 2:
            raise AnalysisError(
                f"the dictionary lies at {names}; name the dictionary that edges begin in as analyses.circuits.upstream"
                + (", or two of these as analyses.circuits.hook_points." if len(points) > 2 else ".")
            )
        first, last = sorted(points, key=depth)
        return first, last
    first, last = map(HookPoint.parse, config.hook_points)
    for each in (first, last):
        if each not in points:
            raise AnalysisError(f"analyses.circuits.hook_points names {each}; the dictionary has {names}.")
    return first, last


def _points_of_two(
    upstream: Crosscoder, sources: Sequence[Source], config: CircuitsConfig
) -> tuple[HookPoint, HookPoint]:
    here = list(dict.fromkeys(source.hook_point for source in sources))
    there = list(dict.fromkeys(point for _, point in map(_split, upstream.sources_out) if point is not None))
    if config.hook_points is not None:
        first, last = map(HookPoint.parse, config.hook_points)
        for each, points, which in ((first, there, f"dictionary {config.upstream!r}"), (last, here, "the dictionary")):
            if points and each not in points:
                known = ", ".join(map(str, points))
                raise AnalysisError(f"analyses.circuits.hook_points names {each}; {which} has {known}.")
        return first, last
    if len(there) != 1 or len(here) != 1:
        raise AnalysisError(
            f"the hook point of dictionary {config.upstream!r} is not in its sources' names, or there are several; set "
            f'analyses.circuits.hook_points = ["resid_post.N", "{here[0]}"], where edges begin and where they end.'
        )
    return there[0], here[0]


def _split(name: str) -> tuple[str, HookPoint | None]:
    """A source's full name as label and hook point; short names, of labels alone, have none."""
    label, colon, point = name.rpartition(":")
    return (label, HookPoint.parse(point)) if colon else (name, None)


def _sources_of(upstream: Crosscoder, first: HookPoint, inputs: AnalysisInputs) -> list[Source]:
    """The sources that another dictionary names; AnalysisError for a snapshot that this series lacks."""
    snapshots = dict(zip(inputs.series.labels, inputs.series.snapshots, strict=True))
    sources = []
    for name in dict.fromkeys((*upstream.sources_in, *upstream.sources_out)):
        label, point = (name, None) if name in snapshots else _split(name)
        if label not in snapshots:
            raise AnalysisError(
                f"the dictionary that edges begin in has snapshot {label!r}, which this series lacks "
                f"(it has {', '.join(snapshots)}); take dictionaries over the same snapshots."
            )
        sources.append(Source(snapshots[label], first if point is None else point))
    return sources


def _check_same(starts: dict[str, int], ends: dict[str, int], first: HookPoint, last: HookPoint) -> None:
    for mine, others, point in ((starts, ends, first), (ends, starts, last)):
        missing = [label for label in others if label not in mine]
        if missing:
            raise AnalysisError(
                f"the dictionary at {point} lacks {', '.join(missing)}; edges need both ends in every snapshot."
            )
