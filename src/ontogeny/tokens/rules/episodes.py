"""Episodes: one rule's run of words, drawn from the rule, and the chance that the rule would say it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ontogeny.tokens.rules.families import END, Branch, Rule
from ontogeny.tokens.rules.labels import Role

Choose = Callable[[int], int]
"""A uniform draw from 0 … n − 1."""


@dataclass(frozen=True)
class Episode:
    """One rule's run of words with their roles, latents and the rule's own probabilities."""

    words: list[str]
    roles: list[Role]
    latents: list[int]
    probabilities: list[float]


def sample_episode(rule: Rule, choose: Choose) -> Episode:
    """One episode of a rule; `choose(n)` makes every draw."""
    episode = Episode([], [], [], [])
    while not episode.words or episode.words[-1] != END:
        branches = rule.step(episode.words)
        branch, weight = _draw_branch(branches, choose)
        words = branch.words
        episode.words.append(words[choose(len(words))] if len(words) > 1 else words[0])
        episode.roles.append(branch.role)
        episode.latents.append(branch.latent)
        episode.probabilities.append(weight / len(words))
    return episode


def _draw_branch(branches: tuple[Branch, ...], choose: Choose) -> tuple[Branch, float]:
    """A branch by weight, and its probability."""
    if len(branches) == 1:
        return branches[0], 1.0
    total = sum(branch.weight for branch in branches)
    drawn = choose(total)
    for branch in branches:
        drawn -= branch.weight
        if drawn < 0:
            return branch, branch.weight / total
    raise AssertionError("the weights of a step do not add up")


def conditional(rule: Rule, words: Sequence[str]) -> list[float]:
    """P_r(w_t | w_<t) along an episode's words; 0 from the first word on that the rule would not say."""
    found = [0.0] * len(words)
    for place, word in enumerate(words):
        branches = rule.step(words[:place])
        total = sum(branch.weight for branch in branches)
        chance = sum(branch.weight / total / len(branch.words) for branch in branches if word in branch.words)
        if chance == 0:
            break
        found[place] = chance
    return found
