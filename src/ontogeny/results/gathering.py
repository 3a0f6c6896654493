"""Which results belong together: everything that evaluations and analyses found of one dictionary."""

from dataclasses import dataclass

from ontogeny.errors import ArtifactError
from ontogeny.workspace import Artifact, Workspace

RESULT_KINDS = ("evaluations", "results")


@dataclass(frozen=True)
class Gathering:
    """A dictionary and its results by kind (`evaluation`, and each analysis by its name), the newest of each kind.

    `older` counts results that newer ones of the same kind (another setting) stand before. `chosen` is the result that
    the user named, where it was one.
    """

    dictionary: Artifact
    results: dict[str, Artifact]
    older: int = 0
    chosen: Artifact | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the dictionary's sources, in order."""
        return tuple(self.dictionary.manifest.get("sources", ()))


def kind_of(artifact: Artifact) -> str:
    """What a result answers: `evaluation`, or the name of its analysis."""
    return "evaluation" if artifact.kind == "evaluations" else str(artifact.manifest.get("analysis", artifact.kind))


def gather_results(workspace: Workspace, reference: str) -> Gathering:
    """All results of a dictionary, by the name of a recipe or the id of the dictionary or of one of its results.

    With them come results of the same recipe that need no dictionary (n-grams of the text, say). A result named by its
    id stands before a newer one of its kind. ArtifactError where nothing answers, where it is another kind of artifact,
    or where there are no results yet.
    """
    named = find_results(workspace, reference)
    chosen = named if named.kind in RESULT_KINDS else None
    dictionary = named if chosen is None else _dictionary_of(workspace, chosen)
    found = [
        artifact
        for kind in RESULT_KINDS
        for artifact in workspace.artifacts(kind)
        if artifact.inputs.get("dictionary") == dictionary.id or _goes_with(artifact, dictionary)
    ]
    if not found:
        raise ArtifactError(
            f"dictionary {dictionary.id} ({dictionary.title}) has no results yet: "
            f"run `ontogeny evaluate` or `ontogeny analyze` with its recipe."
        )
    results = {kind_of(artifact): artifact for artifact in found}
    if chosen is not None:
        results[kind_of(chosen)] = chosen
    # The evaluation first, then the analyses by name.
    ordered = {kind: results[kind] for kind in sorted(results, key=lambda kind: (kind != "evaluation", kind))}
    return Gathering(dictionary, ordered, len(found) - len(results), chosen)


def find_results(workspace: Workspace, reference: str) -> Artifact:
    """The evaluation, result or dictionary that is meant; a recipe's name means its newest dictionary."""
    dictionaries = [artifact for artifact in workspace.artifacts("dictionaries") if reference in artifact.names]
    if dictionaries:
        return dictionaries[-1]
    found = workspace.find(reference)
    if found.kind != "dictionaries" and found.kind not in RESULT_KINDS:
        raise ArtifactError(
            f"{reference!r} is of the kind {found.kind}, which has no results: give the name of a recipe, or the id of "
            "a dictionary, an evaluation or a result (`ontogeny list`)."
        )
    return found


def _goes_with(result: Artifact, dictionary: Artifact) -> bool:
    """Whether a result that needs no dictionary belongs to the same recipe."""
    return "dictionary" not in result.inputs and bool(set(result.names) & set(dictionary.names))


def _dictionary_of(workspace: Workspace, result: Artifact) -> Artifact:
    """The dictionary that a result was made from, or the newest one of its recipe."""
    if "dictionary" in result.inputs:
        return workspace.find(result.inputs["dictionary"], "dictionaries")
    fitting = [each for each in workspace.artifacts("dictionaries") if _goes_with(result, each)]
    if not fitting:
        raise ArtifactError(
            f"result {result.id} ({kind_of(result)}) goes with no dictionary: `ontogeny show` prints it."
        )
    return fitting[-1]
