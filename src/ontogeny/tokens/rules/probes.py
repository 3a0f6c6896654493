"""The probe set: held-out texts that end with an episode of a given rule, as padded rows ready for a model."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.tokens.corpus import Corpus
from ontogeny.tokens.rules.labels import LABEL_DTYPES, Role
from ontogeny.tokens.rules.plan import Fate
from ontogeny.tokens.rules.world import RuleDocument, RulesWorld

BOS_ID = 0  # `closed_tokenizer` gives end-of-text the id 0 and word i the id i + 1


@dataclass(frozen=True)
class RuleVersion:
    """What is probed: a rule as it is from a stage of the world on. A re-mapped fact has two versions."""

    rule: int
    stage: int
    name: str


@dataclass(frozen=True)
class ProbeSet:
    """Probes of every version of every rule, one a row: BOS, episodes as in training, one episode of the rule.

    `corpus` has the label columns of the planted language [row position]. `version` [row] is the number of what the
    row probes in `versions`; `probed` bool [row position] marks its last episode, `scored` the determined tokens
    therein, from which losses are taken. A row begins with an episode: a prefix cut elsewhere makes rules that are
    known look half unknown.
    """

    corpus: Corpus
    versions: tuple[RuleVersion, ...]
    version: np.ndarray
    probed: np.ndarray
    n_answers: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """bool [row position]: determined tokens of the probed episodes."""
        return np.logical_and(self.probed, self.corpus.labels["role"] == Role.DETERMINED)


def list_versions(stages: Sequence[RulesWorld]) -> tuple[RuleVersion, ...]:
    """Every rule from the first stage on in which it occurs (never-trained ones: from the first), and as re-mapped."""
    versions = []
    for number, plan in enumerate(stages[0].plan):
        occurs = [world.stage for world in stages if world.probabilities[number] > 0]
        versions.append(RuleVersion(number, occurs[0] if occurs else 0, plan.name))
        if plan.fate == Fate.REPURPOSED:
            remapped = next(world.stage for world in stages if world.rules[number] != stages[0].rules[number])
            versions.append(RuleVersion(number, remapped, f"{plan.name} re-mapped"))
    return tuple(versions)


def build_probes(stages: Sequence[RulesWorld], n_probes: int = 64, prefix_episodes: int = 3) -> ProbeSet:
    """The probe set of a world (`world.build_stages`): `n_probes` rows for every version of every rule.

    Rows are padded at their ends to the longest; token ids are those of a family grown on the world. Probes come from
    draws of their own, so none is a text of the training corpus but by chance.
    """
    versions = list_versions(stages)
    documents = [
        stages[version.stage].probe(version.rule, number, prefix_episodes)
        for version in versions
        for number in range(n_probes)
    ]
    ids = {word: number + 1 for number, word in enumerate(stages[0].words)}
    lengths = np.array([1 + len(document.words) for document in documents])
    column = np.arange(lengths.max())
    begins = np.array([1 + document.starts[-1] for document in documents])
    tokens = np.full((len(documents), len(column)), BOS_ID)
    for row, document in enumerate(documents):
        tokens[row, 1 : lengths[row]] = [ids[word] for word in document.words]
    return ProbeSet(
        corpus=_corpus_of(tokens, lengths, documents),
        versions=versions,
        version=np.repeat(np.arange(len(versions)), n_probes),
        probed=np.logical_and(column >= begins[:, None], column < lengths[:, None]),
        n_answers=np.array([stages[version.stage].rules[version.rule].n_answers for version in versions]),
    )


def _corpus_of(tokens: np.ndarray, lengths: np.ndarray, documents: Sequence[RuleDocument]) -> Corpus:
    """The rows as a corpus, with BOS and speakers as masks and the labels of the words."""
    plain = Corpus.from_tokens(tokens, pad_id=BOS_ID, lengths=lengths, exclude_first=1)
    column = np.arange(tokens.shape[1])
    position = np.where(plain.position > 0, plain.position - 1, -1).astype(np.int32)
    starts = np.cumsum(lengths - 2) - (lengths - 2)
    labels = {name: np.zeros(tokens.shape, dtype) for name, dtype in LABEL_DTYPES}
    masks = dict(plain.masks) | {"bos": np.broadcast_to(column == 0, tokens.shape).copy()}
    for row, document in enumerate(documents):
        words = slice(1, lengths[row])
        for name, label in document.labels.items():
            labels[name][row, words] = label
        for name, mask in document.masks.items():
            masks[name][row, words] = mask
    return dataclasses.replace(
        plain,
        position=position,
        index=np.where(position > 0, starts[:, None] + position - 1, -1),
        masks=masks,
        labels=labels,
    )
