"""Where the pairs of a behaviour come from, by kind."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ontogeny.tokens.pairs.config import BehaviourConfig
from ontogeny.tokens.pairs.files import (
    iter_blimp,
    iter_clams,
    iter_feature_circuits,
    iter_jsonl,
    iter_multiblimp,
)
from ontogeny.tokens.pairs.generators import (
    Length,
    iter_agreement,
    iter_greater_than,
    iter_induction,
    iter_ioi,
    iter_rules,
)
from ontogeny.tokens.pairs.pair import MinimalPair

READERS: dict[str, Callable[[BehaviourConfig], Iterator[MinimalPair]]] = {
    "blimp": iter_blimp,
    "clams": iter_clams,
    "multiblimp": iter_multiblimp,
    "feature_circuits": iter_feature_circuits,
    "jsonl": iter_jsonl,
}
GENERATORS: dict[str, Callable[[BehaviourConfig, Length], Iterator[MinimalPair]]] = {
    "agreement": iter_agreement,
    "ioi": iter_ioi,
    "induction": iter_induction,
    "greater_than": iter_greater_than,
    "rules": iter_rules,
}


def iter_pairs(config: BehaviourConfig, tokenizer: Any = None) -> Iterator[MinimalPair]:
    """The pairs of a behaviour; with `max_pairs` a draw that takes a pair of every cluster before a second of any.

    Given a tokenizer, generators use words that are one token for it, or of one length, so that fewer are skipped.
    """

    def length(word: str) -> int:
        return 1 if tokenizer is None else len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"])

    pairs = READERS[config.kind](config) if config.kind in READERS else GENERATORS[config.kind](config, length)
    if config.max_pairs is None:
        yield from pairs
        return
    known = list(pairs)
    order = np.random.default_rng(config.seed).permutation(len(known))
    rounds: dict[str, int] = {}
    turn = []
    for index in order:
        cluster = known[int(index)].cluster
        rounds[cluster] = rounds.get(cluster, -1) + 1
        turn.append((rounds[cluster], int(index)))
    chosen = sorted(index for _, index in sorted(turn, key=lambda each: each[0])[: config.max_pairs])
    yield from (known[index] for index in chosen)
