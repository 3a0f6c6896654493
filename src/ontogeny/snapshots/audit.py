"""Are these snapshots what they claim to be?

Public series are not always: revisions serve byte-identical files, the final weights, or another step's. The cheap
part needs names and file hashes only (one request a snapshot); the deep part reads slices of the weights and the
hashes of every other revision of the repository.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ontogeny.snapshots.catalog import list_revisions
from ontogeny.snapshots.hub import PICKLED_WEIGHTS, SAFE_WEIGHTS, WeightFile, is_local, weight_files
from ontogeny.snapshots.names import step_of
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.snapshots.spot_checks import read_spot_checks

Severity = Literal["error", "warning", "note"]
# A step between two others must be at most this much further from the one than they are from each other.
_CLOSER = 0.5
# A log norm may leave the line between its neighbours by this much, and by this multiple of the series' own wobble.
_JUMP, _WOBBLES = np.log(1.5), 6.0


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd: the snapshots it is about (labels, or revision names outside the series)."""

    labels: tuple[str, ...]
    severity: Severity
    message: str

    @property
    def text(self) -> str:
        """The message, after the labels that it does not name itself."""
        named = not self.labels or self.message.startswith(self.labels)
        return self.message if named else f"{', '.join(self.labels)}: {self.message}"


@dataclass(frozen=True)
class AuditReport:
    """What an audit found, worst first; `checked` says what was looked at."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must not be trained on."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether nothing worse than a note was found."""
        return all(finding.severity == "note" for finding in self.findings)


def audit_series(series: SnapshotSeries, deep: bool = False) -> AuditReport:
    """Check order, file hashes and, if `deep`, slices of the weights and all other revisions of the repository.

    Nothing is changed and no weights are downloaded whole (local files are hashed). SnapshotError if the hub or a
    file cannot be read; if `deep`, SeriesMismatch if width or depth differ.
    """
    files = _files_of(series, deep)
    findings = [*_order(series), *_without_weights(series, files), *_identical_files(series, files)]
    checked = ["order of steps", "hashes of the weight files"]
    if deep:
        series.model_configs  # noqa: B018 - weights of different widths have no slices in common to compare
        slices = [read_spot_checks(snapshot.model, snapshot.revision) for snapshot in series.snapshots]
        findings += compare_slices(series.labels, slices)
        checked += ["hashes of every revision", "slices of the weights", "norms"]
    rank = {"error": 0, "warning": 1, "note": 2}
    return AuditReport(tuple(sorted(findings, key=lambda finding: rank[finding.severity])), tuple(checked))


def _order(series: SnapshotSeries) -> list[Finding]:
    """Steps that fall or repeat, and holes in a series that was not chosen by hand."""
    known = [(s.label, s.step) for s in series.snapshots if s.step is not None]
    findings = []
    for (label, step), (after, next_step) in itertools.pairwise(known):
        if next_step <= step:
            text = f"{after} (step {next_step}) stands after {label} (step {step}); list the snapshots by step."
            findings.append(Finding((label, after), "error", text))
    chosen = series.config.steps or series.config.range or series.config.revisions
    missing = [] if chosen else missing_steps([step for _, step in known])
    if missing:
        listed = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        findings.append(Finding((), "warning", f"steps {listed} seem to be missing: the others are evenly spaced."))
    return findings


def missing_steps(steps: Sequence[int]) -> list[int]:
    """Steps that an evenly spaced stretch leaves out.

    The spacing is the commonest difference (at least three times); a later difference that is a multiple of it is a
    hole. Log-spaced steps have no commonest difference, so nothing is missed there.
    """
    gaps = np.diff(np.array(steps, dtype=np.int64))
    common = Counter(gaps.tolist()).most_common(1)
    if not common or common[0][1] < 3 or common[0][0] <= 0:
        return []
    spacing = common[0][0]
    first = gaps.tolist().index(spacing)
    holes = [
        (steps[i], gap) for i, gap in enumerate(gaps.tolist()) if i > first and gap > spacing and gap % spacing == 0
    ]
    return [step + spacing * k for step, gap in holes for k in range(1, gap // spacing)]


def _files_of(series: SnapshotSeries, deep: bool) -> dict[str, tuple[WeightFile, ...]]:
    """Weight files by label; with them `main`, or if deep every other revision of the series' repository."""
    files = {s.label: weight_files(s.model, s.revision) for s in series.snapshots}
    models = {s.model for s in series.snapshots}
    in_series = {s.revision for s in series.snapshots}
    if len(models) != 1 or is_local(next(iter(models))) or in_series == {None}:
        return files
    model = models.pop()
    others = [revision.name for revision in list_revisions(model, sizes=False) if revision.name not in in_series]
    for name in others:
        if deep or name == "main":
            files[f"revision {name}"] = weight_files(model, name)
    return files


def _without_weights(series: SnapshotSeries, files: Mapping[str, Sequence[WeightFile]]) -> list[Finding]:
    return [
        Finding((label,), "error", f"{label} has no weights ({SAFE_WEIGHTS} or {PICKLED_WEIGHTS}).")
        for label in series.labels
        if not files[label]
    ]


def _identical_files(series: SnapshotSeries, files: Mapping[str, Sequence[WeightFile]]) -> list[Finding]:
    """Snapshots whose weight files, or some of them, have the same bytes as another's."""
    own = set(series.labels)
    by_content: dict[tuple[str, str], list[str]] = defaultdict(list)
    for label, entries in files.items():
        for entry in entries:
            by_content[entry.name, entry.sha256].append(label)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (name, _), holders in by_content.items():
        if len(holders) > 1 and own & set(holders) and not _is_final_alias(series, holders):
            shared[tuple(holders)].append(name)
    findings = []
    for labels, names in shared.items():
        total = min(len(files[label]) for label in labels)
        amount = "byte-identical weights" if len(names) == total else f"{len(names)} of {total} weight files in common"
        text = f"{', '.join(labels)} have {amount} ({', '.join(names[:3])}); at most one of them is what it is called."
        findings.append(Finding(labels, "error", text))
    return findings


def _is_final_alias(series: SnapshotSeries, labels: Sequence[str]) -> bool:
    """Whether the labels are one snapshot, the last of its run, and names without a step for it (`main`, a tag)."""
    steps = {label: _step_of_label(series, label) for label in labels}
    with_step = [step for step in steps.values() if step is not None]
    if len(with_step) != 1:
        return not with_step
    snapshot = series.snapshots[0]
    known = [] if is_local(snapshot.model) else [r.step for r in list_revisions(snapshot.model, sizes=False)]
    return with_step[0] >= max((step for step in [*known, *series.steps] if step is not None), default=0)


def _step_of_label(series: SnapshotSeries, label: str) -> int | None:
    if label in series.labels:
        return series.steps[series.labels.index(label)]
    return step_of(label.removeprefix("revision "))


def compare_slices(labels: Sequence[str], slices: Sequence[Mapping[str, np.ndarray]]) -> list[Finding]:
    """Findings from the slices of every snapshot, in the order of training.

    With d(i, k) the distance of two snapshots' slices: equal slices are an error; a pair i < k that lies closer
    together than half of d(i, j) for some j between them is a warning, for weights drift away from where they were;
    so is a norm that leaves the line between its neighbours by more than a factor of 1.5.
    """
    bad = [n for n, entry in zip(labels, slices, strict=True) if not all(np.isfinite(v).all() for v in entry.values())]
    if bad:
        return [Finding((label,), "error", f"{label} holds NaN or infinite weights.") for label in bad]
    # A snapshot without safetensors has no slices; the others are still held against each other.
    labels = [name for name, entry in zip(labels, slices) if entry]
    slices = [entry for entry in slices if entry]
    common = sorted(set.intersection(*(set(entry) for entry in slices))) if slices else []
    if not common:
        return []
    sizes = {name: min(entry[name].size for entry in slices) for name in common}
    # Each tensor weighs the same: an embedding's scale must not hide a norm's.
    scale = {name: np.sqrt(np.mean([np.mean(e[name] ** 2) for e in slices])) or 1.0 for name in common}
    rows = [np.concatenate([e[n][: sizes[n]] / (scale[n] * np.sqrt(sizes[n])) for n in common]) for e in slices]
    vectors = np.stack(rows)
    distance = np.linalg.norm(vectors[:, None] - vectors[None, :], axis=-1)
    return [*_equal_slices(labels, distance), *_misplaced(labels, distance), *_norm_jumps(labels, vectors)]


def _equal_slices(labels: Sequence[str], distance: np.ndarray) -> list[Finding]:
    groups = {tuple(np.flatnonzero(row == 0).tolist()) for row in distance}
    return [
        Finding(
            tuple(labels[i] for i in group),
            "error",
            f"{_joined(labels, group)} hold the same weights; at most one of them is what it is called.",
        )
        for group in sorted(groups)
        if len(group) > 1
    ]


def _misplaced(labels: Sequence[str], distance: np.ndarray) -> list[Finding]:
    """Snapshots that hold another step's weights, the one in most contradictions first, until none is left."""
    n = len(labels)
    triples = {
        (i, j, k)
        for i in range(n)
        for j in range(i + 1, n)
        for k in range(j + 1, n)
        if 0 < distance[i, k] < _CLOSER * max(distance[i, j], distance[j, k])
    }
    findings = []
    while triples:
        count = Counter(index for triple in triples for index in triple)
        worst = max(count, key=lambda index: (count[index], -index))
        alike = sorted({i if k == worst else k for i, _, k in triples if worst in (i, k)})
        text = (
            f"{labels[worst]}'s weights are closer to {_joined(labels, alike)}'s than to those in between; "
            "at least one of them holds another step's weights."
            if alike
            else f"{labels[worst]}'s weights lie far off the way from its neighbours to each other."
        )
        findings.append(Finding((labels[worst], *(labels[i] for i in alike)), "warning", text))
        triples = {triple for triple in triples if worst not in triple}
    return findings


def _norm_jumps(labels: Sequence[str], vectors: np.ndarray) -> list[Finding]:
    """Norms that leave the line between their neighbours' (in log), against the median of all such deviations."""
    norms = np.log(np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float64).tiny))
    deviation = np.abs(norms[1:-1] - (norms[:-2] + norms[2:]) / 2)
    if deviation.size == 0:
        return []
    limit = max(_JUMP, _WOBBLES * float(np.median(deviation)))
    # Beside a jump its neighbours deviate by half of it: only a local peak is reported.
    peaks = [
        i for i in np.flatnonzero(deviation > limit).tolist() if deviation[i] == deviation[max(i - 1, 0) : i + 2].max()
    ]
    message = "{}'s weights have a norm a factor of {:.2f} off the line between its neighbours'."
    return [Finding((labels[i + 1],), "warning", message.format(labels[i + 1], np.exp(deviation[i]))) for i in peaks]


def _joined(labels: Sequence[str], indices: Iterable[int]) -> str:
    return ", ".join(labels[i] for i in indices)
