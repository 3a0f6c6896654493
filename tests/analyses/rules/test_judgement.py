"""Units judged against rules: one unit a learned rule, the best there is for controls, claims that beat a token."""

import numpy as np

from ontogeny.analyses.rules.judgement import Matches, judge_rules, rivals
from ontogeny.analyses.rules.matching import Units
from ontogeny.analyses.rules.targets import RuleTargets

N = 6000
DRAW = np.random.default_rng(0)
TARGET = DRAW.random((4, N)) < 0.05  # two targets of rule 0, one of rule 1, one of the control 2
HALF = DRAW.random(N) < 0.5
TARGETS = RuleTargets(("a", "a = 1", "b", "c"), np.array([0, 0, 1, 2]), TARGET)


def test_a_rule_takes_its_best_target_and_a_rule_without_one_is_missing() -> None:
    values = np.column_stack([TARGET[1], TARGET[2] & (DRAW.random(N) < 0.9), DRAW.random(N) < 0.05]).astype(float)
    token, unit = np.nonzero(values)
    matches = Matches.of(Units(unit, token, values[token, unit], 3, N), TARGETS, 4, HALF)
    np.testing.assert_allclose(matches.best[:1], [1.0])
    assert 0.9 < matches.best[1] < 1 and matches.best[2] < 0.1 and np.isnan(matches.best[3])
    both = Matches.join([matches, matches])
    assert both.chosen.shape == (4, 6)
    np.testing.assert_array_equal(both.best, matches.best)


def test_learned_rules_share_no_unit_and_controls_get_the_best_one() -> None:
    table = np.array([[0.9, 0.8], [0.95, 0.1], [0.6, 0.99], [np.nan, np.nan]])
    judged = judge_rules(
        Matches(table, table - 0.05),
        rival=np.array([0.2, 0.95, 0.2, np.nan]),
        inside=np.array([True, True]),
        together=np.array([True, True, False, False]),
    )
    assert judged.unit.tolist() == [1, 0, 1, -1]
    np.testing.assert_allclose(judged.mcc, [0.75, 0.9, 0.94, np.nan])
    assert judged.claimed.tolist() == [True, False, True, False]  # one token says rule 1 better
    outside = judge_rules(
        Matches(table, table), np.zeros(4), np.array([True, False]), np.ones(4, bool) & ~np.isnan(table[:, 0])
    )
    assert not outside.claimed[outside.unit == 1].any()


def test_rivals_are_the_best_token_and_the_best_position() -> None:
    tokens = np.where(TARGET[2], 7, DRAW.integers(0, 5, N))
    position = np.where(TARGET[3], 3, DRAW.integers(4, 9, N))
    found = rivals(tokens, position, TARGETS, 4, HALF)
    np.testing.assert_allclose(found[1:3], [1.0, 1.0])
    assert abs(found[0]) < 0.15 and np.isnan(found[3])
