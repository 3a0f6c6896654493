"""Which results belong together: everything that evaluations and analyses found of one dictionary."""

from dataclasses import dataclass

from ontogeny.errors import ArtifactError
from ontogeny.workspace import Artifact, Workspace

RESULT_KINDS = ("evaluations", "results")


@dataclass(frozen=True)
class Gathering:
    """A dictionary and its results by kind (`evaluation`, and each analysis by its name), the newest of each kind.

    `subject`: the dictionary, or the newest result of a recipe that has none. `older` counts results that newer ones of
    the same kind (another setting) stand before. `chosen` is the result that the user named, where it was one.
    """

    subject: Artifact
    results: dict[str, Artifact]
    older: int = 0
    chosen: Artifact | None = None

    @property
    def dictionary(self) -> Artifact:
        """The dictionary; ArtifactError where these results are of none."""
        if self.subject.kind != "dictionaries":
            raise ArtifactError(f"the results of {self.subject.title or self.subject.id} are of no dictionary.")
        return self.subject

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the dictionary's sources, in order; none without a dictionary."""
        return tuple(self.subject.manifest.get("sources", ()))


def kind_of(artifact: Artifact) -> str:
    """What a result answers: `evaluation`, or the name of its analysis."""
    return "evaluation" if artifact.kind == "evaluations" else str(artifact.manifest.get("analysis", artifact.kind))


def gather_results(workspace: Workspace, reference: str) -> Gathering:
    """All results of a dictionary, by the name of a recipe or the id of the dictionary or of one of its results.

    With them come results of the same recipe that need no dictionary (quanta, say); a recipe without a dictionary has
    those alone. A result named by its id stands before a newer one of its kind. ArtifactError where nothing answers,
    where it is another kind of artifact, or where there are no results yet.
    """
    named = find_results(workspace, reference)
    chosen = named if named.kind in RESULT_KINDS else None
    subject = named if chosen is None else _subject_of(workspace, chosen)
    found = [
        artifact
        for kind in RESULT_KINDS
        for artifact in workspace.artifacts(kind)
        if artifact.inputs.get("dictionary") == subject.id or _goes_with(artifact, subject)
    ]
    if not found:
        raise ArtifactError(
            f"dictionary {subject.id} ({subject.title}) has no results yet: "
            f"run `ontogeny evaluate` or `ontogeny analyze` with its recipe."
        )
    results = {kind_of(artifact): artifact for artifact in found}
    if chosen is not None and reference not in chosen.names:
        results[kind_of(chosen)] = chosen
    # The evaluation first, then the analyses by name.
    ordered = {kind: results[kind] for kind in sorted(results, key=lambda kind: (kind != "evaluation", kind))}
    return Gathering(subject, ordered, len(found) - len(results), chosen)


def find_results(workspace: Workspace, reference: str) -> Artifact:
    """The evaluation, result or dictionary that is meant; a recipe's name means its newest dictionary, else result."""
    for kind in ("dictionaries", *RESULT_KINDS):
        named = [artifact for artifact in workspace.artifacts(kind) if reference in artifact.names]
        if named:
            return named[-1]
    found = workspace.find(reference)
    if found.kind != "dictionaries" and found.kind not in RESULT_KINDS:
        raise ArtifactError(
            f"{reference!r} is of the kind {found.kind}, which has no results: give the name of a recipe, or the id of "
            "a dictionary, an evaluation or a result (`ontogeny list`)."
        )
    return found


def _goes_with(result: Artifact, subject: Artifact) -> bool:
    """Whether a result that needs no dictionary belongs to the same recipe."""
    return "dictionary" not in result.inputs and bool(set(result.names) & set(subject.names))


def _subject_of(workspace: Workspace, result: Artifact) -> Artifact:
    """The dictionary that a result was made from, or the newest one of its recipe, or the result itself."""
    if "dictionary" in result.inputs:
        return workspace.find(result.inputs["dictionary"], "dictionaries")
    return next((each for each in reversed(workspace.artifacts("dictionaries")) if _goes_with(result, each)), result)
