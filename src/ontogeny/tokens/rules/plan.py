"""The plan of a changing world: what happens to each rule, and at which training step. This is the truth."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ontogeny.tokens.rules.config import ChangesConfig
from ontogeny.tokens.rules.families import Fact, Rule


class Fate(StrEnum):
    """What the plan has for a rule."""

    PERSISTS = "persists"
    """Occurs from the first step to the last; there is no chat."""
    EMERGES = "emerges"
    """Begins to occur at its step."""
    VANISHES = "vanishes"
    """No longer occurs from its step on."""
    REPURPOSED = "re-purposed"
    """A fact whose marker and keys get new values at its step."""
    CHAT_ONLY = "chat-only"
    """Occurs from the beginning of chat on."""
    BASE_ONLY = "base-only"
    """Does not occur in chat."""
    SHARED = "shared"
    """Occurs before chat and in it, as often as before."""
    RARER = "shared-rarer"
    """Occurs before chat and in it, but more rarely there: what looks like a loss and is none."""
    NEVER = "never-trained"
    """Probed and never trained."""
    NOISE = "noise"
    """Nothing to learn."""


BEGINS = frozenset({Fate.EMERGES, Fate.CHAT_ONLY})
ENDS = frozenset({Fate.VANISHES, Fate.BASE_ONLY})


@dataclass(frozen=True)
class RulePlan:
    """A rule's fate, and the training step at which it befalls the rule (None where nothing happens to it)."""

    name: str
    family: str
    fate: Fate
    step: int | None = None

    def share(self, step: int, rarer_factor: float) -> float:
        """How much of its share of the text the rule has at a training step: 0, 1 or 1/rarer_factor."""
        happened = self.step is not None and step >= self.step
        if self.fate == Fate.NEVER or (self.fate in BEGINS and not happened) or (self.fate in ENDS and happened):
            return 0.0
        return 1 / rarer_factor if self.fate == Fate.RARER and happened else 1.0


def plan_fates(changes: ChangesConfig, rules: Sequence[Rule], seed: int) -> tuple[RulePlan, ...]:
    """The plan of all rules, in their order: who meets which fate is drawn by the seed, facts to be re-mapped first.

    Agreement rules stay as they are: only their frequencies tell them apart before the verb, so a change of one would
    change the least loss that is possible on the others.
    """
    step_of = {
        Fate.REPURPOSED: changes.remap_step,
        Fate.EMERGES: changes.emerge_step,
        Fate.VANISHES: changes.vanish_step,
        Fate.CHAT_ONLY: changes.chat_step,
        Fate.BASE_ONLY: changes.chat_step,
        Fate.RARER: changes.chat_step,
        Fate.SHARED: changes.chat_step,
    }
    draw = random.Random(f"{seed}.changes")
    open_to_change = [rule.name for rule in rules if not is_control(rule) and rule.family != "agree"]
    order = draw.sample(open_to_change, len(open_to_change))
    facts = {rule.name for rule in rules if isinstance(rule, Fact)}
    fates: dict[str, Fate] = {}
    for fate, count in changes.counts.items():
        able = [name for name in order if name not in fates and (fate != Fate.REPURPOSED or name in facts)]
        fates |= dict.fromkeys(able[:count], Fate(fate))
    unchanged = Fate.PERSISTS if changes.chat_step is None else Fate.SHARED
    plans = []
    for rule in rules:
        control = Fate.NOISE if rule.family == "noise" else Fate.NEVER
        fate = control if is_control(rule) else fates.get(rule.name, unchanged)
        plans.append(RulePlan(rule.name, rule.family, fate, step_of.get(fate)))
    return tuple(plans)


def is_control(rule: Rule) -> bool:
    """A rule that nobody may claim as learned: never trained, or noise."""
    return rule.family == "noise" or rule.name.startswith("never")


def remap_fact(fact: Fact, seed: int) -> Fact:
    """The fact with a new table, in which no key keeps its value."""
    draw = random.Random(f"{seed}.remap.{fact.name}")
    table = fact.table
    while any(new == old for new, old in zip(table, fact.table)):
        table = tuple(draw.sample(fact.table, len(fact.table)))
    return Fact(fact.name, table)
