"""The plan of a changing world: who meets which fate, and that the text and its labels follow it."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from ontogeny.config import config_identity, content_hash
from ontogeny.tokens.rules.config import ChangesConfig, RulesConfig
from ontogeny.tokens.rules.families import Fact
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.plan import Fate, RulePlan, remap_fact
from ontogeny.tokens.rules.world import SPEAKERS, RulesWorld, build_rules, build_stages, describe_plan

CHANGES = ChangesConfig(emerge_step=10, vanish_step=20, remap_step=30, chat_step=40, chat_only=1)
CHANGING = RulesConfig(seed=5, changes=CHANGES, document_length=120, n_documents=40)


def fates(world: RulesWorld) -> Counter[Fate]:
    return Counter(plan.fate for plan in world.plan)


def names_with(world: RulesWorld, *wanted: Fate) -> set[str]:
    return {plan.name for plan in world.plan if plan.fate in wanted}


def said(world: RulesWorld, documents: int = 150) -> set[str]:
    """Names of the rules whose episodes occur in a world's documents."""
    numbers = np.concatenate([world.document(number).labels["rule"] for number in range(documents)])
    return {world.names[number] for number in np.unique(numbers)}


def test_a_world_without_changes_is_what_it_was_before_there_were_any() -> None:
    world = build_rules(RulesConfig(seed=3))
    digest = hashlib.sha256()
    for document in [*(world.document(number) for number in range(4)), world.probe(2, 1)]:
        digest.update(document.text.encode())
        for name in sorted(document.labels):
            digest.update(document.labels[name].tobytes())
    assert digest.hexdigest()[:16] == "0c1dfd69966cabd5"
    assert not {"changes", "stage"} & set(config_identity(RulesConfig()))
    assert build_stages(RulesConfig()) == (build_rules(RulesConfig()),)
    assert set(fates(world)) == {Fate.PERSISTS, Fate.NEVER, Fate.NOISE}
    changed = RulesConfig(changes=ChangesConfig(vanish_step=1))
    assert content_hash(config_identity(changed)) != content_hash(config_identity(RulesConfig()))


def test_as_many_rules_meet_each_fate_as_planned_and_facts_alone_are_remapped() -> None:
    world = build_rules(CHANGING)
    planned = {fate: count for fate, count in CHANGES.counts.items() if count}
    assert {fate: count for fate, count in fates(world).items() if fate in planned} == planned
    assert all(plan.family == "fact" for plan in world.plan if plan.fate == Fate.REPURPOSED)
    assert {plan.step for plan in world.plan if plan.fate in (Fate.NEVER, Fate.NOISE, Fate.PERSISTS)} == {None}
    assert {plan.fate: plan.step for plan in world.plan}[Fate.SHARED] == 40
    assert len({build_rules(CHANGING.model_copy(update={"seed": seed})).plan for seed in range(4)}) == 4
    assert describe_plan(build_stages(CHANGING))["stage_steps"] == [0, 10, 20, 30, 40]


def test_each_stage_says_what_the_plan_allows_and_nothing_else() -> None:
    stages = build_stages(CHANGING)
    assert [world.stage for world in stages] == [0, 1, 2, 3, 4]
    late = names_with(stages[0], Fate.EMERGES)
    gone = names_with(stages[0], Fate.VANISHES)
    chat_only, base_only = names_with(stages[0], Fate.CHAT_ONLY), names_with(stages[0], Fate.BASE_ONLY)
    never = names_with(stages[0], Fate.NEVER)
    everything = set(stages[0].names) - never
    assert said(stages[0]) <= everything - late - chat_only
    for world, silent in zip(
        stages,
        (late | chat_only, chat_only, gone | chat_only, gone | chat_only, gone | base_only),
        strict=True,
    ):
        allowed = {name for name, p in zip(world.names, world.probabilities) if p > 0}
        assert allowed == everything - silent and said(world) <= allowed
        assert world.probabilities.sum() == pytest.approx(1)
    # What is rarer in chat is so by its factor, measured against a rule that is shared.
    number = {name: number for number, name in enumerate(stages[0].names)}
    rare = number[next(iter(names_with(stages[0], Fate.RARER)))]
    shared = number[next(iter(names_with(stages[0], Fate.SHARED)))]
    before, after = stages[3].probabilities, stages[4].probabilities
    assert (after[rare] / after[shared]) / (before[rare] / before[shared]) == pytest.approx(1 / 8)


def test_a_remapped_fact_keeps_its_marker_and_keys_and_no_value() -> None:
    stages = build_stages(CHANGING)
    for old, new, plan in zip(stages[0].rules, stages[-1].rules, stages[0].plan, strict=True):
        assert old.name == new.name
        if plan.fate == Fate.REPURPOSED:
            assert isinstance(old, Fact) and isinstance(new, Fact) and sorted(old.table) == sorted(new.table)
            assert not any(map(int.__eq__, old.table, new.table))
        else:
            assert old == new
    assert stages[2].rules == stages[0].rules != stages[3].rules
    assert remap_fact(Fact("two", (1, 0)), 0).table == (0, 1)


def test_chat_is_turns_and_its_masks_say_whose() -> None:
    chat = build_stages(CHANGING)[-1]
    document = chat.document(0)
    assert chat.is_chat and [document.words[start] for start in document.starts[:3]] == [*SPEAKERS, SPEAKERS[0]]
    turn = document.labels["role"] == Role.TURN
    np.testing.assert_array_equal(turn, np.isin(document.words, SPEAKERS))
    np.testing.assert_array_equal(document.masks["control"], turn)
    assert (document.labels["bayes_nll"][turn] == 0).all() and (document.labels["latent"][turn] == -1).all()
    assert sum(document.masks.values()).all() and document.masks["user"][1]  # type: ignore[union-attr]
    assert document.masks["assistant"][document.starts[1] + 1 : document.starts[2]].all()
    assert build_rules(CHANGING).document(0).masks == {}
    assert set(SPEAKERS) <= set(chat.words) and not set(SPEAKERS) & set(build_rules(RulesConfig()).words)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"facts": 1, "changes": {"remap_step": 3}}, "plant more facts"),
        ({"facts": 1, "skip_trigrams": 0, "agreements": 0, "brackets": 0, "copies": 0, "modular_sums": 0,
          "parities": 1, "changes": {"vanish_step": 3, "vanishing": 3}}, "3 vanishes"),
        ({"stage": 1}, "no stage 1"),
        ({"changes": {"vanish_step": 0}}, "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_world_that_cannot_be_is_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        RulesConfig(**fields)  # type: ignore[arg-type]


def test_a_share_follows_the_fate() -> None:
    def shares(fate: Fate, step: int | None) -> list[float]:
        return [RulePlan("r", "fact", fate, step).share(at, 4.0) for at in (0, 6, 7, 100)]

    assert shares(Fate.EMERGES, 7) == shares(Fate.CHAT_ONLY, 7) == [0, 0, 1, 1]
    assert shares(Fate.VANISHES, 7) == shares(Fate.BASE_ONLY, 7) == [1, 1, 0, 0]
    assert shares(Fate.RARER, 7) == [1, 1, 0.25, 0.25]
    assert shares(Fate.NEVER, None) == [0, 0, 0, 0]
    assert shares(Fate.REPURPOSED, 7) == shares(Fate.NOISE, None) == [1, 1, 1, 1]
