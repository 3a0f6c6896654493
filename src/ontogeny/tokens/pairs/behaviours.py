"""The behaviours that a recipe names, as tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ontogeny.errors import CorpusError
from ontogeny.tokens.pairs.config import FILES, BehaviourConfig, PairPolicy
from ontogeny.tokens.pairs.files import paths_of
from ontogeny.tokens.pairs.pair import PairTokens, tokenize_pairs
from ontogeny.tokens.pairs.sources import iter_pairs

LEAST_CLUSTERS = 6
"""Of fewer, even effects that all have one sign are no surprise: 2^(1 - clusters) > 5 %, for both signs."""


def tokenize_behaviours(
    configs: Sequence[BehaviourConfig], policy: PairPolicy, tokenizer: Any, enough: int | None = None
) -> dict[str, PairTokens]:
    """Label -> pairs; of each only until `enough` clusters are found, where that is given.

    CorpusError where there is no behaviour, two have one label, or one keeps no pair.
    """
    if not configs:
        raise CorpusError('no behaviour is named; give one, for example behaviours = [{ kind = "agreement" }].')
    found: dict[str, PairTokens] = {}
    for config in configs:
        if config.label in found:
            raise CorpusError(f"two behaviours are called {config.label!r}; give one of them another name.")
        try:
            found[config.label] = tokenize_pairs(iter_pairs(config, tokenizer), tokenizer, policy, enough)
        except CorpusError as error:
            raise CorpusError(f"behaviour {config.label!r}: {error}") from error
    return found


@runtime_checkable
class AsksBehaviours(Protocol):
    """The config of an analysis of behaviours."""

    behaviours: list[BehaviourConfig]
    policy: PairPolicy


def check_behaviours(config: AsksBehaviours, tokenizer: Any) -> list[str]:
    """What the tokenizer alone tells: a sentence on every behaviour with fewer than `min_clusters` clusters of pairs.

    The errors of `tokenize_behaviours`. No more pairs are read than it takes to know.
    """
    enough, sentences = int(getattr(config, "min_clusters", LEAST_CLUSTERS)), []
    for name, pairs in tokenize_behaviours(config.behaviours, config.policy, tokenizer, enough).items():
        if pairs.n_clusters < enough:
            skipped = "".join(f"; {count} {reason}" for reason, count in pairs.skipped.items())
            sentences.append(
                f"behaviour {name!r} keeps {len(pairs)} pairs in {pairs.n_clusters} independent groups, fewer than "
                f"{enough}, so that little can be told from chance{f' (skipped{skipped[1:]})' if skipped else ''}."
            )
    return sentences


def behaviour_files(configs: Sequence[BehaviourConfig]) -> list[Path]:
    """The files that behaviours are read from, in order; CorpusError where one names none."""
    return [path for config in configs if config.kind in FILES for path in paths_of(config)]
