"""The planted language: its rules, how often each occurs, its words, its documents, and their exact Bayes loss."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ontogeny.tokens.rules.config import RulesConfig
from ontogeny.tokens.rules.episodes import Episode, conditional, sample_episode
from ontogeny.tokens.rules.families import (
    END,
    Agreement,
    Copy,
    Dyck,
    Fact,
    ModularSum,
    Noise,
    Parity,
    Rule,
    SkipTrigram,
    pool,
)
from ontogeny.tokens.rules.labels import Role, stack_labels
from ontogeny.tokens.rules.plan import Fate, RulePlan, plan_fates, remap_fact

N_FILLERS = 12
N_NOUNS = 6
N_LETTERS = 16
SPEAKERS = ("<user>", "<assistant>")


@dataclass(frozen=True)
class RuleDocument:
    """A text of whole episodes, and the labels [position] of its words; `starts` are the episodes' first positions.

    In chat every episode is a turn and begins with its speaker's word.
    """

    words: tuple[str, ...]
    labels: dict[str, np.ndarray]
    starts: tuple[int, ...]

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Who speaks, bool [position]: `control` at the speakers' words, `user` and `assistant` in their turns."""
        if not self.words or self.words[0] not in SPEAKERS:
            return {}
        control = np.array([word in SPEAKERS for word in self.words])
        turn = np.cumsum(control) - 1
        return {"control": control, "user": ~control & (turn % 2 == 0), "assistant": ~control & (turn % 2 == 1)}

    @property
    def text(self) -> str:
        """The words, parted by spaces."""
        return " ".join(self.words)


def build_rules(config: RulesConfig) -> "RulesWorld":
    """The world of a config, at the stage that it names or at its first: a function of its seed alone."""
    return build_stages(config)[config.stage or 0]


def build_stages(config: RulesConfig) -> "tuple[RulesWorld, ...]":
    """The world at every stage: one, and one more for every step at which it changes."""
    first = RulesWorld(config, tuple(_plant(config)))
    later = (_changed(first, stage) for stage in range(1, len(first.stage_steps)))
    return (first, *later)


def describe_plan(stages: "Sequence[RulesWorld]") -> dict[str, Any]:
    """The truth for people and files: what happens to every rule, and how often it occurs at each stage."""
    rules = [
        {
            "rule": number,
            "name": plan.name,
            "family": plan.family,
            "fate": plan.fate.value,
            "step": plan.step,
            "probabilities": [float(world.probabilities[number]) for world in stages],
        }
        for number, plan in enumerate(stages[0].plan)
    ]
    return {"stage_steps": list(stages[0].stage_steps), "rules": rules}


def _changed(first: "RulesWorld", stage: int) -> "RulesWorld":
    """The world at a later stage: the facts whose time has come have their new tables."""
    begins = first.stage_steps[stage]

    def in_force(rule: Rule, plan: RulePlan) -> Rule:
        if plan.fate != Fate.REPURPOSED or plan.step is None or plan.step > begins:
            return rule
        assert isinstance(rule, Fact), "only facts have tables to re-map"
        return remap_fact(rule, first.config.seed)

    return RulesWorld(first.config, tuple(map(in_force, first.rules, first.plan)), stage)


def _plant(config: RulesConfig) -> list[Rule]:
    """All rules in their order; the never-trained controls stand last."""
    draw = random.Random(f"{config.seed}.tables")
    fillers = pool("filler", N_FILLERS)

    def table() -> tuple[int, ...]:
        return tuple(draw.sample(range(config.fact_pairs), config.fact_pairs))

    rules: list[Rule] = [Fact(f"fact{i}", table()) for i in range(config.facts)]
    rules += [SkipTrigram(f"skip{i}", table(), fillers) for i in range(config.skip_trigrams)]
    rules += [Agreement(f"agree{k}", k, N_NOUNS) for k in range(config.agreements)]
    rules += [Dyck(f"dyck{k}", k, config.dyck_length) for k in range(2, 2 + config.brackets)]
    rules += [
        Copy(f"copy{i}", config.copy_length + 2 * max(i - 1, 0), N_LETTERS, marked=i > 0) for i in range(config.copies)
    ]
    rules += [
        ModularSum(f"mod{i}", config.prime, 1 + draw.randrange(config.prime - 1), draw.randrange(config.prime))
        for i in range(config.modular_sums)
    ]
    rules += [
        Parity(
            f"parity{i}", config.parity_bits, tuple(sorted(draw.sample(range(config.parity_bits), config.parity_size)))
        )
        for i in range(config.parities)
    ]
    rules += [Noise("noise", fillers, length=6)] if config.noise else []
    return rules + [Fact(f"never{i}", table()) for i in range(config.never)]


@dataclass(frozen=True)
class RulesWorld:
    """The planted language at one stage. Rules are known by their number in `rules`, as in the label column `rule`.

    A world that changes in training has a stage more than it has changes; `rules` are those in force, with the tables
    of this stage, and their numbers are the same in all stages.
    """

    config: RulesConfig
    rules: tuple[Rule, ...]
    stage: int = 0

    @property
    def names(self) -> list[str]:
        """Rule names by number."""
        return [rule.name for rule in self.rules]

    @cached_property
    def plan(self) -> tuple[RulePlan, ...]:
        """What happens to each rule, and when: the truth, by number."""
        return plan_fates(self.config.changes, self.rules, self.config.seed)

    @property
    def stage_steps(self) -> tuple[int, ...]:
        """The training step at which each stage begins."""
        return (0, *self.config.changes.steps)

    @property
    def is_chat(self) -> bool:
        """The text is turns of a user and an assistant."""
        chat_step = self.config.changes.chat_step
        return chat_step is not None and self.stage_steps[self.stage] >= chat_step

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Chance of each rule to make the next episode, float64 [rule]; 0 for those that do not occur at this stage.

        p_r ∝ rank_r^−exponent / (determined tokens an episode), with ranks a seeded permutation over the rules of all
        families: so the determined *tokens* of rules follow Zipf's law and say nothing of difficulty. At a later stage
        each is multiplied by what the plan leaves of it.
        """
        trained = [number for number, plan in enumerate(self.plan) if plan.fate != Fate.NEVER]
        order = random.Random(f"{self.config.seed}.ranks").sample(trained, len(trained))
        begins, rarer = self.stage_steps[self.stage], self.config.changes.rarer_factor
        share = np.zeros(len(self.rules))
        for rank, number in enumerate(order, 1):
            kept = self.plan[number].share(begins, rarer)
            share[number] = kept * rank**-self.config.exponent / self.rules[number].determined
        return share / share.sum()

    @cached_property
    def n_answers(self) -> np.ndarray:
        """Size of each rule's answer set, int64 [rule]."""
        return np.array([rule.n_answers for rule in self.rules], dtype=np.int64)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The closed vocabulary, in a fixed order."""
        fillers, config = pool("filler", N_FILLERS), self.config
        kinds = 1 + config.brackets
        groups = (
            (END, "of", "verb", "verbs", "=", "bit0", "bit1", "even", "odd"),
            tuple(rule.name for rule in self.rules if rule.family != "agree"),
            pool("key", config.fact_pairs) + pool("value", config.fact_pairs),
            pool("first", config.fact_pairs) + pool("third", config.fact_pairs) + fillers,
            pool("noun", N_NOUNS) + pool("nouns", N_NOUNS),
            pool("open", kinds) + pool("close", kinds),
            pool("letter", N_LETTERS) + pool("digit", config.prime),
            SPEAKERS if config.changes.chat_step is not None else (),
        )
        return tuple(word for group in groups for word in group)

    @cached_property
    def openings(self) -> dict[str, tuple[int, ...]]:
        """Which rules can open an episode with a word."""
        found: dict[str, list[int]] = {}
        for number, rule in enumerate(self.rules):
            if self.probabilities[number] > 0:
                for branch in rule.step(()):
                    for word in branch.words:
                        found.setdefault(word, []).append(number)
        return {word: tuple(numbers) for word, numbers in found.items()}

    def document(self, number: int) -> RuleDocument:
        """Document `number` of this stage's training text: episodes until `document_length` is reached."""
        draw = self._draws("document", number)
        chosen: list[tuple[int, Episode]] = []
        length = 0
        while length < self.config.document_length:
            rule = self._draw_rule(draw)
            chosen.append((rule, sample_episode(self.rules[rule], draw.randrange)))
            length += len(chosen[-1][1].words) + self.is_chat
        return self._document_of(chosen)

    def probe(self, rule: int, number: int, prefix_episodes: int = 3) -> RuleDocument:
        """A held-out text whose last episode is the rule's, after episodes drawn as in training.

        It begins at an episode's start: a prefix cut elsewhere makes rules that are known look half unknown.
        """
        draw = self._draws("probe", f"{self.rules[rule].name}.{number}")
        numbers = [self._draw_rule(draw) for _ in range(prefix_episodes)] + [rule]
        return self._document_of([(each, sample_episode(self.rules[each], draw.randrange)) for each in numbers])

    def bayes_nll(self, rule: int, episode: Episode) -> list[float]:
        """−log P(word | words before) in nats, for one who knows the whole world but not which rule is at work.

        P(w_t | w_<t) = Σ_r p_r P_r(w_≤t) / Σ_r p_r P_r(w_<t). Episodes end visibly, so earlier ones say nothing.
        A never-trained rule has p_r = 0: there the rule itself counts as known.
        """
        weight = float(self.probabilities[rule])
        if weight == 0:
            return [math.log(1 / p) for p in episode.probabilities]
        joint = np.cumprod([weight, *episode.probabilities])
        total = joint.copy()
        total[0] = 1.0
        for other in self.openings[episode.words[0]]:
            if other != rule:
                total[1:] += self.probabilities[other] * np.cumprod(conditional(self.rules[other], episode.words))
        return [math.log(before / after) for before, after in itertools.pairwise(total)]

    def _draws(self, what: str, which: int | str) -> random.Random:
        """The draws of one text; those of the first stage do not know that there are others."""
        stage = f".stage{self.stage}" if self.stage else ""
        return random.Random(f"{self.config.seed}.{what}.{which}{stage}")

    def _draw_rule(self, draw: random.Random) -> int:
        return min(int(np.searchsorted(self._cumulative, draw.random(), side="right")), len(self.rules) - 1)

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.cumsum(self.probabilities)

    def _document_of(self, chosen: Sequence[tuple[int, Episode]]) -> RuleDocument:
        words: list[str] = []
        labels: list[tuple[int, int, int, float]] = []
        starts = []
        for turn, (rule, episode) in enumerate(chosen):
            starts.append(len(words))
            if self.is_chat:  # turns alternate, so that whose turn it is can be known
                words.append(SPEAKERS[turn % 2])
                labels.append((rule, Role.TURN, -1, 0.0))
            words += episode.words
            numbers = [rule] * len(episode.words)
            labels.extend(zip(numbers, episode.roles, episode.latents, self.bayes_nll(rule, episode)))
        return RuleDocument(tuple(words), stack_labels(*zip(*labels)), tuple(starts))
