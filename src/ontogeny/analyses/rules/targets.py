"""What a unit should say yes to, if a model has learned a planted rule: indicators over tokens."""

from dataclasses import dataclass

import numpy as np

from ontogeny.tokens.corpus import Corpus
from ontogeny.tokens.rules.families import END
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.world import RulesWorld

HELD_VALUES = frozenset({"agree", "dyck", "parity"})
"""Families in which the model must hold a value (number, bracket on top, parity), which is a target as well."""


@dataclass(frozen=True)
class RuleTargets:
    """Indicators of rules over the tokens looked at: `matrix` bool [target token], `rule` [target] is whose each is."""

    names: tuple[str, ...]
    rule: np.ndarray
    matrix: np.ndarray


def predicted_cells(corpus: Corpus, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells (row, position) that are kept and whose next cell is the next token of the same document.

    The activation at p goes with the prediction of the token at p + 1, whose labels say what has to be known at p.
    """
    keep = np.asarray(corpus.keep)[rows][:, :-1]
    document, position = np.asarray(corpus.document)[rows], np.asarray(corpus.position)[rows]
    follows = (document[:, 1:] == document[:, :-1]) & (position[:, 1:] > 0)
    place, column = np.nonzero(keep & follows)
    return rows[place], column


def build_targets(corpus: Corpus, world: RulesWorld, row: np.ndarray, column: np.ndarray) -> RuleTargets:
    """The targets of all rules on the cells (`row`, `column`) of a labelled corpus.

    A rule's target: the next token is determined by it. Where a value must be held, also: the episode is the rule's and
    the value is v, wherever it must be held. Noise determines nothing, so its targets are what nobody can know: the
    next token is its word w. Targets without a token are left out.
    """
    labels = {name: np.asarray(label)[row, column + 1] for name, label in corpus.labels.items()}
    following = np.asarray(corpus.tokens)[row, column + 1]
    end = following == 1 + world.words.index(END)
    names: list[str] = []
    owners: list[int] = []
    columns: list[np.ndarray] = []

    def add(name: str, rule: int, target: np.ndarray) -> None:
        if target.any():
            names.append(name)
            owners.append(rule)
            columns.append(target)

    for number, rule in enumerate(world.rules):
        mine = labels["rule"] == number
        if rule.family == "noise":
            for token in np.unique(following[mine & (labels["role"] == Role.FILLER) & ~end]):
                add(f"{rule.name}, next {token}", number, mine & (following == token))
            continue
        determined = mine & (labels["role"] == Role.DETERMINED)
        add(rule.name, number, determined)
        if rule.family in HELD_VALUES:
            held = mine & (labels["latent"] >= 0)
            for value in np.unique(labels["latent"][held]):
                add(f"{rule.name} = {value}", number, held & (labels["latent"] == value))
    return RuleTargets(tuple(names), np.array(owners, dtype=np.int64), np.array(columns, dtype=bool))
