"""The planted language's knobs. Torch-free."""

from typing import Annotated

from pydantic import Field, model_validator

from ontogeny.config import Added, Config

Step = Annotated[int | None, Field(ge=1)]


class ChangesConfig(Config):
    """A planned change of the world: from which training step on which rules occur, and how often."""

    emerge_step: Step = None
    """Training step at which some rules begin to occur; empty: all occur from the first step on."""
    emerging: int = Field(default=2, ge=0)
    """How many rules begin at `emerge_step`."""
    vanish_step: Step = None
    """Training step from which some rules no longer occur; empty: none stops."""
    vanishing: int = Field(default=2, ge=0)
    """How many rules stop at `vanish_step`."""
    remap_step: Step = None
    """Training step from which some facts have new values under the same marker and keys; empty: tables stay."""
    remapped: int = Field(default=2, ge=0)
    """How many facts get a new table at `remap_step`."""
    chat_step: Step = None
    """Training step from which all text is chat: episodes are turns, after `<user>` and `<assistant>`; empty: never."""
    chat_only: int = Field(default=2, ge=0)
    """How many rules occur in chat alone."""
    base_only: int = Field(default=2, ge=0)
    """How many rules do not occur in chat."""
    rarer: int = Field(default=2, ge=0)
    """How many rules go on in chat, but more rarely; the others are shared."""
    rarer_factor: float = Field(default=8.0, ge=1)
    """How many times more rarely."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The training steps at which the world changes, ascending."""
        planned = {self.emerge_step, self.vanish_step, self.remap_step, self.chat_step}
        return tuple(sorted(step for step in planned if step is not None))

    @property
    def counts(self) -> dict[str, int]:
        """How many rules have each fate, as far as its step is planned (names as in `plan.Fate`)."""
        chat = self.chat_step is not None
        return {
            "re-purposed": self.remapped * (self.remap_step is not None),
            "emerges": self.emerging * (self.emerge_step is not None),
            "vanishes": self.vanishing * (self.vanish_step is not None),
            "chat-only": self.chat_only * chat,
            "base-only": self.base_only * chat,
            "shared-rarer": self.rarer * chat,
        }


class RulesConfig(Config):
    """How many rules of each family there are, how often they occur, and how long the text is."""

    facts: int = Field(default=6, ge=0)
    """Rules `fact`: marker and key give the value by a random table."""
    skip_trigrams: int = Field(default=3, ge=0)
    """Rules `skip`: a word and a later cue give a third word, whatever stands between; no marker."""
    agreements: int = Field(default=3, ge=0, le=3)
    """Rules `agree`: the verb's number follows the first noun past 0, 1, 2 attractors; no marker."""
    brackets: int = Field(default=3, ge=0, le=4)
    """Rules `dyck`: well-nested words of 2, 3, … kinds of bracket; the closing kind follows from the stack."""
    copies: int = Field(default=3, ge=0, le=6)
    """Rules `copy`: a random string said twice; the first one of them has no marker (induction)."""
    modular_sums: int = Field(default=2, ge=0, le=8)
    """Rules `mod`: an operator and two digits give a digit modulo `prime`."""
    parities: int = Field(default=2, ge=0, le=8)
    """Rules `parity`: the parity of `parity_size` of `parity_bits` bits."""
    never: int = Field(default=2, ge=0)
    """Control facts that are probed and never occur in the text: nobody may claim them."""
    noise: bool = True
    """A control rule of uniformly random words, never to be claimed."""
    fact_pairs: int = Field(default=12, ge=2)
    """Keys a fact table."""
    copy_length: int = Field(default=6, ge=2)
    """Words in a copied string."""
    dyck_length: int = Field(default=8, ge=4, multiple_of=2)
    """Brackets in an episode."""
    prime: int = Field(default=7, ge=3)
    """Modulus of the sums."""
    parity_bits: int = Field(default=5, ge=1)
    """Bits shown in a parity episode."""
    parity_size: int = Field(default=2, ge=1)
    """Bits that matter in a parity episode."""
    exponent: float = Field(default=1.0, ge=0)
    """Determined tokens of the rule of rank r go as r**-exponent; ranks are drawn over all families, so that frequency
    says nothing of difficulty."""
    document_length: int = Field(default=256, ge=16)
    """Fewest tokens a document; its last episode is finished."""
    n_documents: int = Field(default=8192, ge=1)
    """Documents there are."""
    changes: Annotated[ChangesConfig, Added] = ChangesConfig()
    """Planned changes of the world during training; none by default."""
    stage: Annotated[int | None, Added] = Field(default=None, ge=0)
    """Which stage of a changing world the documents are of, counted from 0 at every change; empty: of all in turn."""
    seed: int = 0
    """Seed of tables, ranks, changes and text."""

    @model_validator(mode="after")
    def _enough_rules(self) -> "RulesConfig":
        counts = self.changes.counts
        if counts["re-purposed"] > self.facts:
            raise ValueError(f"changes.remapped = {counts['re-purposed']} of facts = {self.facts}; plant more facts")
        if sum(counts.values()) > self.n_changeable:
            planned = ", ".join(f"{count} {fate}" for fate, count in counts.items() if count)
            raise ValueError(f"{self.n_changeable} rules can change and the changes need more: {planned}")
        if self.stage is not None and self.stage > len(self.changes.steps):
            raise ValueError(f"there is no stage {self.stage}; the world has {len(self.changes.steps) + 1}, from 0 on")
        return self

    @property
    def n_changeable(self) -> int:
        """Rules that a plan may change: all that can be learned but agreement (see `plan.plan_fates`)."""
        return sum((self.facts, self.skip_trigrams, self.brackets, self.copies, self.modular_sums, self.parities))
