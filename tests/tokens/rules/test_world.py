import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from ontogeny.tokens.rules.config import ChangesConfig, RulesConfig
from ontogeny.tokens.rules.episodes import sample_episode
from ontogeny.tokens.rules.families import Rule
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.world import RulesWorld, build_rules, build_stages
from ontogeny.tokens.vocabulary import closed_tokenizer

TINY = RulesConfig(
    facts=2, skip_trigrams=2, agreements=2, brackets=1, copies=0, modular_sums=1, parities=1, never=1, noise=False,
    fact_pairs=2, dyck_length=4, prime=3, parity_bits=2, parity_size=1, document_length=60,
)  # fmt: skip


def every_episode(rule: Rule) -> Iterator[tuple[float, tuple[str, ...]]]:
    """All ways in which the draws of an episode can fall, each with its probability."""
    draws: list[list[int]] = [[]]
    while draws:
        script = draws.pop()
        sizes: list[int] = []

        def choose(n: int, script: list[int] = script, sizes: list[int] = sizes) -> int:
            sizes.append(n)
            return script[len(sizes) - 1] if len(sizes) <= len(script) else 0

        words = tuple(sample_episode(rule, choose).words)
        yield 1 / math.prod(sizes), words
        for place in range(len(script), len(sizes)):
            taken = script + [0] * (place - len(script))
            draws += [[*taken, other] for other in range(1, sizes[place])]


CHANGING = TINY.model_copy(
    update={
        "facts": 3,
        "changes": ChangesConfig(
            vanish_step=3, vanishing=1, remap_step=5, remapped=1, chat_step=9, chat_only=1, base_only=1, rarer=1
        ),
    }
)


@pytest.mark.parametrize(("config", "documents"), [(TINY, 20), (CHANGING, 8)], ids=["steady", "changing"])
def test_the_bayes_loss_is_what_counting_all_episodes_gives(config: RulesConfig, documents: int) -> None:
    ambiguous = 0
    for world in build_stages(config):
        weight: dict[tuple[str, ...], float] = defaultdict(float)
        for number, rule in enumerate(world.rules):
            if world.probabilities[number] > 0:
                total = 0.0
                for chance, words in every_episode(rule):
                    total += chance
                    for length in range(len(words) + 1):
                        weight[words[:length]] += world.probabilities[number] * chance
                assert total == pytest.approx(1.0)
        for document in (world.document(number) for number in range(documents)):
            for begin, stop in itertools.pairwise((*document.starts, len(document.words))):
                start = begin + world.is_chat  # a speaker's word stands before the episode
                words = document.words[start:stop]
                for place in range(len(words)):
                    exact = -math.log(weight[words[: place + 1]] / weight[words[:place]])
                    assert document.labels["bayes_nll"][start + place] == pytest.approx(exact, abs=1e-5)
                    determined = document.labels["role"][start + place] == Role.DETERMINED
                    ambiguous += bool(determined and exact > 0.01)
    assert ambiguous > 10  # agreement without a marker: a Bayes loss that is not zero is among them


def test_frequencies_follow_zipf_by_determined_tokens_whatever_the_family() -> None:
    world = build_rules(RulesConfig(seed=1))
    tokens = np.sort([p * rule.determined for p, rule in zip(world.probabilities, world.rules) if p > 0])[::-1]
    np.testing.assert_allclose(tokens / tokens[0], 1 / np.arange(1, len(tokens) + 1))
    orders = {tuple(np.argsort(build_rules(RulesConfig(seed=seed)).probabilities)) for seed in range(5)}
    assert len(orders) == 5
    drawn = Counter(
        int(rule) for n in range(60) for rule in world.document(n).labels["rule"][list(world.document(n).starts)]
    )
    frequent = int(np.argmax(world.probabilities))
    assert drawn[frequent] / drawn.total() == pytest.approx(world.probabilities[frequent], abs=0.05)


def test_a_world_is_a_function_of_its_seed() -> None:
    first, again, other = (build_rules(RulesConfig(seed=seed)) for seed in (4, 4, 5))
    assert first.document(7).words == again.document(7).words != other.document(7).words
    assert first.rules == again.rules != other.rules


def test_never_trained_rules_occur_in_probes_alone() -> None:
    world = build_rules(RulesConfig(n_documents=50))
    never = [number for number, name in enumerate(world.names) if name.startswith("never")]
    assert len(never) == 2 and not world.probabilities[never].any()
    assert not any(np.isin(world.document(number).labels["rule"], never).any() for number in range(50))
    probe = world.probe(never[0], 0)
    assert (probe.labels["rule"][probe.starts[-1] :] == never[0]).all()
    assert np.isfinite(probe.labels["bayes_nll"]).all()
    assert len(probe.starts) == 4 and world.probe(never[0], 1).words != probe.words


def test_words_are_unique_and_round_trip() -> None:
    world: RulesWorld = build_rules(RulesConfig(copies=6, parities=8, modular_sums=8, brackets=4))
    tokenizer = closed_tokenizer(world.words)
    document = world.document(0)
    ids = tokenizer(document.text)["input_ids"]
    assert [world.words[token - 1] for token in ids] == list(document.words)
