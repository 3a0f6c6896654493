"""The exception tree: what can be wrong with a user's input, and nothing else.

    OntogenyError               one sentence that names the value and the cure; the CLI prints it and exits with 2
    ├── ConfigError             a recipe key or value
    ├── SnapshotError           a model, a revision, an architecture
    │   ├── RevisionNotFound    the hub repository has no such branch or tag
    │   ├── HookPointError      no such place in this model
    │   └── SeriesMismatch      snapshots that do not belong together (width, tokenizer)
    ├── CorpusError             text that is missing, empty or of an unknown kind
    ├── StoreError              activations on disk: torn, altered or made for something else
    ├── NonFiniteError          NaN or Inf where a number was expected
    ├── AnalysisError           an analysis lacks what it needs (masks, sources, an endpoint)
    ├── DictionaryError         a dictionary that cannot be built or read
    │   └── DictionaryFormatError  what another project's file format cannot hold
    ├── ArtifactError           no such artifact, or more than one
    ├── AnnotationError         a sheet of annotations, or the database of notes
    └── DiskFull                the workspace's disk has no room left

A broken invariant of our own is an `assert`, never one of these.
"""


class OntogenyError(Exception):
    """Base of every error that the user can mend; the message is one sentence."""


class ConfigError(OntogenyError):
    """A key or value in a recipe, on the command line or in the environment is wrong."""


class SnapshotError(OntogenyError):
    """A model or one of its snapshots cannot be used."""


class RevisionNotFound(SnapshotError):
    """The repository has no such revision."""


class HookPointError(SnapshotError):
    """The model has no such hook point."""


class SeriesMismatch(SnapshotError):
    """Two snapshots of one series do not fit together."""


class CorpusError(OntogenyError):
    """The text cannot be read, or nothing is left of it."""


class StoreError(OntogenyError):
    """Activations on disk are torn, altered, or were made for something else."""


class NonFiniteError(OntogenyError):
    """A NaN or an infinity turned up in activations, a loss or a gradient."""


class AnalysisError(OntogenyError):
    """An analysis cannot be made from these inputs; says what is missing and how to get it."""


class DictionaryError(OntogenyError):
    """A dictionary cannot be built or read."""


class DictionaryFormatError(DictionaryError):
    """A foreign file format cannot hold, or does not say, what is needed."""


class ArtifactError(OntogenyError):
    """No artifact, or more than one, answers to this name."""


class AnnotationError(OntogenyError):
    """A filled sheet cannot be taken, or notes cannot be kept or read."""


class DiskFull(OntogenyError):
    """No room is left on the workspace's disk."""
