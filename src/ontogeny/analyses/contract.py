"""What an analysis is: a config, what it needs, and one function from opened inputs to a `Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ontogeny.config import Config
from ontogeny.results import Result
from ontogeny.types import HookPoint, Source

if TYPE_CHECKING:
    from ontogeny.activations.sharded import OrderedStore
    from ontogeny.dictionaries.crosscoder import Crosscoder
    from ontogeny.latents.accumulators import Accumulator
    from ontogeny.latents.cache import CodeCache
    from ontogeny.quanta.measured import MeasuredLosses, TokenClusters
    from ontogeny.snapshots.series import SnapshotSeries
    from ontogeny.tokens.corpus import Corpus

Need = Literal["dictionary", "held_out", "series", "evaluation", "codes", "losses", "quanta"]


@dataclass(frozen=True)
class AnalysisInputs:
    """Open handles on what a run made so far; the pipeline fills them, an analysis only reads them.

    `scratch` is a directory of the analysis's own that outlives a kill: what lies there may be used to go on.
    `codes`: the code cache of the held-out text, where `needs` names it. `accumulated`: what this analysis's rider
    computed on the pass. `others`: the dictionaries that its config refers to, by the reference given there.
    `losses`, `quanta`: of every predicted token, and the clusters of some, where `needs` names them. A dictionary and
    held-out activations are None in a run without them: `dictionary` and `held_out` are for analyses that need them.
    """

    maybe_dictionary: Crosscoder | None
    corpus: Corpus
    maybe_held_out: OrderedStore | None
    series: SnapshotSeries
    evaluation: Result | None
    scratch: Path
    device: str
    codes: CodeCache | None = None
    accumulated: Any = None
    others: Mapping[str, Crosscoder] = field(default_factory=dict)
    losses: MeasuredLosses | None = None
    quanta: TokenClusters | None = None

    @property
    def dictionary(self) -> Crosscoder:
        """The run's dictionary."""
        assert self.maybe_dictionary is not None, "an analysis that needs a dictionary says so"
        return self.maybe_dictionary

    @property
    def held_out(self) -> OrderedStore:
        """The held-out activations."""
        assert self.maybe_held_out is not None, "an analysis that needs held-out activations says so"
        return self.maybe_held_out

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources that the dictionary writes, in its order, with their snapshots' steps."""
        from ontogeny.interventions.sources import source_positions

        places = source_positions(self.held_out.sources, self.dictionary.sources_out)
        return tuple(self.held_out.sources[place] for place in places)

    @property
    def hook_point(self) -> HookPoint:
        """That of the dictionary's first source; without a dictionary the residual stream after the middle block."""
        if self.maybe_dictionary is not None:
            return self.sources[0].hook_point
        return HookPoint("resid_post", (self.series.n_layers - 1) // 2)


@dataclass(frozen=True)
class Analysis:
    """A question to a run. `needs` names the inputs whose artifacts enter the result's id, `wants` those that do so
    where the run has them: with its dictionary a result is found, and shown, among those of the dictionary.

    `run(inputs, config)` is deterministic in both; `config` is an instance of `Config`, a torch-free pydantic class.
    `ride(inputs, config)` makes the accumulator that goes along on the one pass over all codes; `run` then finds what
    it computed in `inputs.accumulated`. `refers(config)` lists names or ids of other dictionaries to open,
    `reads(config)` the user's files that it reads: their contents are part of the result's id. `check(config,
    tokenizer)` raises what the tokenizer alone shows to be wrong and gives what it shows to be weak, a sentence each,
    before anything is harvested.
    """

    name: str
    Config: type[Config]
    needs: frozenset[Need]
    run: Callable[[AnalysisInputs, Any], Result]
    ride: Callable[[AnalysisInputs, Any], Accumulator] | None = None
    refers: Callable[[Any], Sequence[str]] | None = None
    reads: Callable[[Any], Sequence[Path]] | None = None
    check: Callable[[Any, Any], Sequence[str]] | None = None
    wants: frozenset[Need] = frozenset()
