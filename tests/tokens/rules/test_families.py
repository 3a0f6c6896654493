"""Every family through one shared set of checks, and the arithmetic of each."""

import random

import pytest

from ontogeny.tokens.rules.config import RulesConfig
from ontogeny.tokens.rules.episodes import conditional, sample_episode
from ontogeny.tokens.rules.families import END, Dyck, Rule, nestings
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.world import build_rules

WORLD = build_rules(RulesConfig())


@pytest.mark.parametrize("rule", WORLD.rules, ids=WORLD.names)
def test_contract(rule: Rule) -> None:
    draw = random.Random(0)
    determined = 0
    for _ in range(50):
        episode = sample_episode(rule, draw.randrange)
        assert episode.words[-1] == END and END not in episode.words[:-1]
        assert set(episode.words) <= set(WORLD.words)
        assert conditional(rule, episode.words) == pytest.approx(episode.probabilities)
        determined += sum(role is Role.DETERMINED for role in episode.roles)
        for place, role in enumerate(episode.roles):
            if role is Role.DETERMINED:
                # One who knows the rule has no choice left, but for whether it is time for such a word.
                (branch,) = [b for b in rule.step(episode.words[:place]) if b.role is Role.DETERMINED]
                assert len(branch.words) == 1 and 0 <= branch.latent < rule.n_answers
    assert determined == (0 if rule.family == "noise" else 50 * rule.determined)


def answers(family: str) -> list[list[str]]:
    draw = random.Random(1)
    return [
        sample_episode(rule, draw.randrange).words for rule in WORLD.rules if rule.family == family for _ in range(20)
    ]


def test_agreement_follows_the_first_noun() -> None:
    assert all(words[-2] == ("verbs" if words[0].startswith("nouns") else "verb") for words in answers("agree"))


def test_copies_repeat() -> None:
    for words in answers("copy"):
        said = [word for word in words if word.startswith("letter")]
        assert said[: len(said) // 2] == said[len(said) // 2 :]


def test_brackets_nest() -> None:
    for words in answers("dyck"):
        text = " ".join(words[1:-1])
        for _ in words:
            for kind in range(5):
                text = " ".join(text.replace(f"open{kind} close{kind}", "").split())
        assert text == ""


def test_sums_and_parities_follow_one_law_each() -> None:
    for rule in WORLD.rules:
        if rule.family in ("mod", "parity"):
            draw = random.Random(2)
            law: dict[tuple[str, ...], str] = {}
            for _ in range(300):
                *given, answer, _ = sample_episode(rule, draw.randrange).words
                assert law.setdefault(tuple(given), answer) == answer
            assert len(set(law.values())) == rule.n_answers


def test_nestings_are_the_catalan_numbers() -> None:
    assert [nestings(0, 2 * n) for n in range(6)] == [1, 1, 2, 5, 14, 42]
    assert Dyck("dyck2", 2, 8).determined == 4
