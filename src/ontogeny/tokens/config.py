"""What text a corpus is made of. Torch-free."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ontogeny.config import Config, did_you_mean
from ontogeny.tokens.rules.config import RulesConfig

ROLES = ("system", "user", "assistant", "tool")
MASKS = ("padding", "bos", "first_n", "no_context", "control", *ROLES)
"""Every mask that a corpus records, in the order of their bits.

padding: no token; bos: a beginning-of-sequence token; first_n: the first `exclude_first` cells of a row, BOS included
(models put a huge activation there); no_context: a document's continuation at the start of a row, whose predecessor
lies in another row; control: a chat template's own tokens; system, user, assistant, tool: the content of their turns.
"""


class TextSourceConfig(Config):
    """One source of text in a corpus: where it lies and how a record becomes a document."""

    kind: Literal["stdlib", "rules", "files", "folder", "hub"]
    """stdlib: this Python's own library; rules: a planted language; files: text, jsonl, parquet; folder: what
    datasets' save_to_disk wrote; hub: a dataset by id."""
    name: str | None = None
    """Name in tables and masks; by default the path, the dataset or the kind."""
    path: str | None = None
    """File, folder or glob pattern (kinds `files` and `folder`)."""
    dataset: str | None = None
    """Dataset id (kind `hub`), read as a stream."""
    subset: str | None = None
    """The dataset's configuration name (kind `hub`)."""
    split: str = "train"
    """The dataset's split (kinds `hub` and `folder`, where the folder holds several)."""
    revision: str | None = None
    """The dataset's commit, tag or branch (kind `hub`)."""
    column: str = "text"
    """Column of the text, or of the list of messages where `chat` is on."""
    template: str | None = None
    """Without `chat`: a Python format string over the record's columns; with it: a Jinja chat template that takes the
    place of the tokenizer's."""
    chat: bool = False
    """Records are conversations, lists of {role, content}."""
    control_template: str | None = None
    """A Jinja chat template that renders the same text and whose {% generation %} spans are the control tokens."""
    document_separator: str | None = None
    """What separates documents inside one text file; by default the tokenizer's end-of-text token, if it occurs."""
    language: str | None = None
    """Language tag, kept in the corpus's list of sources."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the mixture's tokens, relative to the other sources'."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Most tokens taken from this source."""
    rules: RulesConfig = RulesConfig()
    """The planted language (kind `rules`)."""

    @model_validator(mode="after")
    def _complete(self) -> "TextSourceConfig":
        needed = {"files": "path", "folder": "path", "hub": "dataset"}.get(self.kind)
        if needed and not getattr(self, needed):
            raise ValueError(f"a source of kind {self.kind!r} needs {needed!r}")
        if self.chat and self.kind in ("stdlib", "rules"):
            raise ValueError(f"a source of kind {self.kind!r} holds no conversations; leave out 'chat'")
        return self

    @property
    def label(self) -> str:
        """The name by which tables call this source."""
        return self.name or self.dataset or self.path or self.kind


class CorpusConfig(Config):
    """Text as rows of tokens: sources, budgets, packing, what is left out and what is held out."""

    sources: list[TextSourceConfig] = Field(default=[TextSourceConfig(kind="stdlib")], min_length=1)
    """The mixture's sources; a source that runs dry leaves its share to the others."""
    context_length: int = Field(default=128, ge=2)
    """Cells a row (tokens, BOS included)."""
    packing: bool = True
    """Fill rows with one document after another; otherwise one row a document, cut at `context_length`."""
    bos: Literal["auto", "document", "row", "never"] = "auto"
    """Where BOS is prepended; auto: before documents if the tokenizer does so itself or its BOS is its end-of-text
    token, else never."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Most tokens in all, BOS not counted; the last document is cut."""
    max_documents: int | None = Field(default=None, gt=0)
    """Most documents in all; empty ones do not count."""
    max_tokens_per_document: int | None = Field(default=None, gt=0)
    """Tokens after which a document is cut, BOS not counted."""
    exclude_first: int = Field(default=1, ge=0)
    """Length of the mask `first_n`, in cells from the start of a row, BOS included."""
    exclude: list[str] = Field(default=["bos", "first_n", "no_context"])
    """Masks left out of training, evaluation and analysis alike; padding always is."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the documents held out, drawn by a seeded hash of their tokens; equal documents stay together."""
    replacements: dict[str, dict[str, str]] = Field(default={})
    """Per snapshot label: template tokens that this snapshot does not know, and the single token it reads instead."""
    seed: int = 0
    """Seed of the split by document."""

    @field_validator("exclude")
    @classmethod
    def _known_masks(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in MASKS:
                hint = did_you_mean(name, MASKS, f"the masks are {', '.join(MASKS)}")
                raise ValueError(f"there is no mask {name!r}; {hint}")
        return names

    @model_validator(mode="after")
    def _unique_sources(self) -> "CorpusConfig":
        names = [source.label for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}; give each its own 'name'")
        return self
