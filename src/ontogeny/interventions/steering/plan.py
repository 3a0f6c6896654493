"""A request made definite: which edits at which hook points, of whose sources, and what must be read for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from ontogeny.config import nearest
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError, HookPointError, SnapshotError
from ontogeny.interventions.edits import (
    Edit,
    RaiseLatents,
    RemoveLatents,
    ReplaceLatents,
    ScaleLatents,
    SetLatents,
    SwapError,
    SwapReconstruction,
    Where,
    check_latents,
)
from ontogeny.interventions.steering.config import (
    AddIntervention,
    AnyIntervention,
    LowerHalfIntervention,
    RemoveIntervention,
    ReplaceErrorIntervention,
    ReplaceLatentsIntervention,
    ReplaceReconstructionIntervention,
    ScaleIntervention,
    SetIntervention,
    SteeringRequest,
)
from ontogeny.interventions.suffix import depth
from ontogeny.types import HookPoint, Source

Maxima = Float[Tensor, " latent"]


@dataclass(frozen=True)
class Place:
    """A source that a dictionary writes: its index in `sources_out`, its snapshot and hook point."""

    index: int
    label: str
    hook_point: HookPoint


class SteeringPlan:
    """What is done where, for one request.

    `lower`: label and first layer of the upper half, None without; `edits`: per hook point, in order; `places`: the
    sources that take part; `instead`: per snapshot, the tokens that it reads for others. An edit acts in the snapshot
    that runs its hook point: below the cut that is the lower one.
    """

    def __init__(
        self,
        request: SteeringRequest,
        dictionary: Crosscoder,
        reads: Sequence[Source],
        writes: Sequence[Source],
        n_layers: int,
        maxima: Maxima | None = None,
        instead: Mapping[str, Mapping[int, int]] | None = None,
    ) -> None:
        self.request, self.dictionary, self.reads = request, dictionary, list(reads)
        self.n_layers, self.maxima, self.instead = n_layers, maxima, instead or {}
        self.written = [Place(index, each.snapshot.label, each.hook_point) for index, each in enumerate(writes)]
        self._check_snapshot(request.snapshot)
        check_latents(request.monitored, dictionary.n_latents)
        for label in request.read or ():
            self._check_snapshot(label, read=True)
        halves = [each for each in request.interventions if isinstance(each, LowerHalfIntervention)]
        if len(halves) > 1:
            raise AnalysisError("only one lower half fits under the upper one; leave one intervention lower_half.")
        self.lower = self._lower_half(halves[0]) if halves else None
        self.edits: dict[HookPoint, list[Edit]] = {}
        self.places: dict[int, Place] = {}
        for each in request.interventions:
            if not isinstance(each, LowerHalfIntervention):
                self._add(each)

    @property
    def cut(self) -> HookPoint | None:
        """Where the upper half begins."""
        return None if self.lower is None else HookPoint("resid_pre", self.lower[1])

    def runs_below(self, hook_point: HookPoint) -> bool:
        """Whether the lower half's snapshot runs this hook point."""
        return self.cut is not None and depth(hook_point) <= depth(self.cut)

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.edits) or self.lower is not None

    @cached_property
    def needs_codes(self) -> bool:
        """Whether codes must be read: something is monitored, or an edit asks what a latent is."""
        inner = [each.edit for edits in self.edits.values() for each in edits if isinstance(each, Where)]
        return bool(self.request.monitored) or any(not isinstance(each, RaiseLatents) for each in inner)

    @cached_property
    def reading(self) -> dict[str, list[HookPoint]]:
        """Per snapshot, the hook points whose untouched activations are read."""
        wanted: dict[str, list[HookPoint]] = {}
        needed: list[tuple[str, HookPoint]] = []
        if self.needs_codes:
            labels = self.read_labels
            needed += [(s.snapshot.label, s.hook_point) for s in self.reads if s.snapshot.label in labels]
            needed += [(place.label, place.hook_point) for place in self.places.values()]
        for label, point in dict.fromkeys(needed):
            wanted.setdefault(label, []).append(point)
        return wanted

    @property
    def read_labels(self) -> list[str]:
        """Snapshots that the codes are read from."""
        return self.request.read or list(dict.fromkeys(each.snapshot.label for each in self.reads))

    @property
    def labels(self) -> list[str]:
        """Snapshots whose models are needed."""
        lower = [self.lower[0]] if self.lower is not None else []
        return list(dict.fromkeys([self.request.snapshot, *lower, *self.reading]))

    # ---- resolving -----------------------------------------------------------------------------------------------

    def _add(self, intervention: AnyIntervention) -> None:
        assert not isinstance(intervention, LowerHalfIntervention), "a half is no edit"
        for place in self._places_of(intervention.hook_point):
            self.places[place.index] = place
            for edit in self._resolve(intervention, place):
                self.edits.setdefault(place.hook_point, []).append(Where(intervention.on, edit))

    def _resolve(self, intervention: AnyIntervention, place: Place) -> list[Edit]:
        source, latents = place.index, getattr(intervention, "latents", None)
        chosen = None if latents is None else tuple(dict.fromkeys(latents))
        if chosen is not None:
            check_latents(chosen, self.dictionary.n_latents)
        match intervention:
            case AddIntervention():
                return self._each(intervention, lambda latent, code: RaiseLatents(source, code, (latent,)))
            case SetIntervention():
                return self._each(intervention, lambda latent, code: SetLatents(source, code, (latent,)))
            case ScaleIntervention():
                return [ScaleLatents(source, intervention.factor, chosen)]
            case RemoveIntervention():
                return [RemoveLatents(source, chosen)]
            case ReplaceLatentsIntervention():
                return [ReplaceLatents(source, self._other(intervention.by, place), chosen)]
            case ReplaceReconstructionIntervention():
                return [SwapReconstruction(source, self._other(intervention.by, place))]
            case ReplaceErrorIntervention():
                return [SwapError(source, self._other(intervention.by, place))]
        raise AssertionError(f"unknown intervention {intervention!r}")

    def _each(self, intervention: AddIntervention | SetIntervention, make: Callable[[int, float], Edit]) -> list[Edit]:
        latents = list(dict.fromkeys(intervention.latents))
        return [make(latent, intervention.strength * self._unit(intervention.unit, latent)) for latent in latents]

    def _unit(self, unit: str, latent: int) -> float:
        """The code that a strength of 1 stands for."""
        if unit == "code":
            return 1.0
        if self.maxima is None:
            raise AnalysisError(
                'no largest codes are known for unit "max": make the analysis `statistics` of this dictionary, or give '
                "strengths as codes."
            )
        largest = float(self.maxima[latent])
        if not largest > 0:
            raise AnalysisError(
                f"latent {latent} was never on, so it has no largest code; give its strength as a code."
            )
        return largest

    def _places_of(self, hook_point: str | None) -> list[Place]:
        """The written sources that an intervention changes: of the snapshot that runs each hook point."""
        points = list(dict.fromkeys(place.hook_point for place in self.written))
        if hook_point is not None:
            point = HookPoint.parse(hook_point)
            if point not in points:
                known = ", ".join(map(str, points))
                raise HookPointError(f"the dictionary has no source at hook point {hook_point}; it has {known}.")
            points = [point]
        found = []
        for point in points:
            label = self.lower[0] if self.lower is not None and self.runs_below(point) else self.request.snapshot
            found += [place for place in self.written if (place.label, place.hook_point) == (label, point)]
        if not found:
            at = f"at hook point {hook_point}" if hook_point is not None else "where it runs"
            raise HookPointError(
                f"the dictionary has no source of {self.request.snapshot} {at}, so nothing can be changed there; name "
                "another hook point or snapshot."
            )
        return found

    def _other(self, label: str, place: Place) -> int:
        """The source of another snapshot at the same hook point."""
        self._check_snapshot(label)
        point = place.hook_point
        found = [each for each in self.written if (each.label, each.hook_point) == (label, point)]
        if not found:
            raise HookPointError(f"the dictionary has no source of {label} at {point}; name another hook point.")
        self.places[found[0].index] = found[0]
        return found[0].index

    def _lower_half(self, half: LowerHalfIntervention) -> tuple[str, int]:
        self._check_snapshot(half.snapshot)
        if half.layer >= self.n_layers:
            raise HookPointError(
                f"lower_half.layer = {half.layer}: the snapshots have {self.n_layers} blocks, so the upper half can "
                f"begin at 1 to {self.n_layers - 1}."
            )
        return half.snapshot, half.layer

    def _check_snapshot(self, label: str, read: bool = False) -> None:
        """SnapshotError naming the nearest where the dictionary has no source of it."""
        known = [each.snapshot.label for each in self.reads] if read else [place.label for place in self.written]
        if label not in known:
            labels = list(dict.fromkeys(known))
            alike = nearest(label, labels, 1)
            hint = f"; did you mean {alike[0]!r}?" if alike else "."
            verb = "reads" if read else "writes"
            raise SnapshotError(
                f"there is no snapshot {label!r} among the dictionary's sources{hint} It {verb} {', '.join(labels)}."
            )
