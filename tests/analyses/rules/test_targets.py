"""Targets on a corpus of known text: the cell before a determined token, held values, words of noise."""

import numpy as np

from ontogeny.analyses.rules.targets import build_targets, predicted_cells
from ontogeny.tokens.rules.config import RulesConfig
from ontogeny.tokens.rules.families import END
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.probes import build_probes
from ontogeny.tokens.rules.world import build_stages

STAGES = build_stages(RulesConfig(facts=2, agreements=1, never=1))
PROBES = build_probes(STAGES, n_probes=4)
CORPUS = PROBES.corpus
ROW, COLUMN = predicted_cells(CORPUS, np.arange(CORPUS.n_rows))
TARGETS = build_targets(CORPUS, STAGES[0], ROW, COLUMN)


def test_cells_are_kept_tokens_with_a_successor_in_their_own_document() -> None:
    cells = set(zip(ROW.tolist(), COLUMN.tolist(), strict=True))
    for row in range(CORPUS.n_rows):
        last = int((~CORPUS.masks["padding"][row]).sum()) - 1
        assert {column for each, column in cells if each == row} == set(range(1, last))


def test_a_target_marks_the_token_before_what_the_rule_determines() -> None:
    labels = {name: label[ROW, COLUMN + 1] for name, label in CORPUS.labels.items()}
    for number, rule in enumerate(STAGES[0].rules):
        mine = [i for i, owner in enumerate(TARGETS.rule) if owner == number]
        if rule.family == "noise":
            continue
        determined = (labels["rule"] == number) & (labels["role"] == Role.DETERMINED)
        np.testing.assert_array_equal(TARGETS.matrix[mine[0]], determined)
        assert TARGETS.names[mine[0]] == rule.name and (len(mine) > 1) == (rule.family in ("agree", "dyck", "parity"))
        for target in mine[1:]:
            value = int(TARGETS.names[target].split("= ")[1])
            held = (labels["rule"] == number) & (labels["latent"] == value)
            np.testing.assert_array_equal(TARGETS.matrix[target], held)


def test_noise_has_its_next_words_as_targets_and_not_its_end() -> None:
    noise = STAGES[0].names.index("noise")
    following = CORPUS.tokens[ROW, COLUMN + 1]
    mine = [i for i, owner in enumerate(TARGETS.rule) if owner == noise]
    assert len(mine) > 5
    end = 1 + STAGES[0].words.index(END)
    for target in mine:
        tokens = np.unique(following[TARGETS.matrix[target]])
        assert len(tokens) == 1 and tokens[0] != end
