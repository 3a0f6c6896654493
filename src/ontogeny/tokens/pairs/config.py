"""Which behaviours are looked at, and how their pairs become tokens. Torch-free."""

from typing import Literal

from pydantic import Field, model_validator

from ontogeny.config import Config
from ontogeny.tokens.rules.config import RulesConfig

PairKind = Literal[
    "blimp",
    "clams",
    "multiblimp",
    "feature_circuits",
    "jsonl",
    "agreement",
    "ioi",
    "induction",
    "greater_than",
    "rules",
]
FILES: tuple[str, ...] = ("blimp", "clams", "multiblimp", "feature_circuits", "jsonl")


class BehaviourConfig(Config):
    """One behaviour: minimal pairs from the user's files or from a generator."""

    kind: PairKind
    """blimp, clams, multiblimp, feature_circuits, jsonl: files in these layouts; agreement: subject and verb with
    attractors between them; ioi: indirect object identification; induction: a repeated sequence; greater_than: years;
    rules: the determined tokens of a planted language."""
    name: str | None = None
    """Name in tables; by default the file's or the generator's."""
    path: str | None = None
    """File, folder or glob pattern (kinds that read files)."""
    language: str | None = None
    """Language of the pairs; by default what the file says, else "en"."""
    n_pairs: int = Field(default=256, ge=1)
    """Pairs that a generator draws."""
    attractors: int = Field(default=1, ge=0, le=3)
    """Nouns of the other number between subject and verb (kind `agreement`)."""
    max_pairs: int | None = Field(default=None, ge=1)
    """Most pairs kept, drawn by the seed over whole clusters first."""
    rules: RulesConfig = RulesConfig()
    """The planted language (kind `rules`): the one that the family was grown on."""
    seed: int = 0
    """Seed of the generator and of the draw."""

    @model_validator(mode="after")
    def _complete(self) -> "BehaviourConfig":
        if self.kind in FILES and not self.path:
            raise ValueError(f"a behaviour of kind {self.kind!r} needs 'path'")
        return self

    @property
    def label(self) -> str:
        """The name by which tables call this behaviour."""
        return self.name or (self.path or self.kind).rstrip("/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


class PairPolicy(Config):
    """How pairs become tokens, and which are skipped. What was skipped, and why, is counted."""

    answers: Literal["single", "first"] = "single"
    """single: both answers must be one token after their common prefix; first: the first token in which they differ
    decides."""
    equal_length: bool = True
    """Skip pairs whose clean and patch prefix differ in length: positions could not be compared."""
    bos: Literal["auto", "always", "never"] = "auto"
    """Whether a BOS precedes every prefix; auto: where the tokenizer does so, or where BOS is the end-of-text token."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest prefix, BOS included; longer pairs are skipped."""
