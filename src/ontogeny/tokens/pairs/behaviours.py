"""The behaviours that a recipe names, as tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ontogeny.errors import CorpusError
from ontogeny.tokens.pairs.config import FILES, BehaviourConfig, PairPolicy
from ontogeny.tokens.pairs.files import paths_of
from ontogeny.tokens.pairs.pair import PairTokens, tokenize_pairs
from ontogeny.tokens.pairs.sources import iter_pairs


def tokenize_behaviours(
    configs: Sequence[BehaviourConfig], policy: PairPolicy, tokenizer: Any
) -> dict[str, PairTokens]:
    """Label -> pairs. CorpusError where there is no behaviour, two have one label, or one keeps no pair."""
    if not configs:
        raise CorpusError('no behaviour is named; give one, for example behaviours = [{ kind = "agreement" }].')
    found: dict[str, PairTokens] = {}
    for config in configs:
        if config.label in found:
            raise CorpusError(f"two behaviours are called {config.label!r}; give one of them another name.")
        try:
            found[config.label] = tokenize_pairs(iter_pairs(config, tokenizer), tokenizer, policy)
        except CorpusError as error:
            raise CorpusError(f"behaviour {config.label!r}: {error}") from error
    return found


def behaviour_files(configs: Sequence[BehaviourConfig]) -> list[Path]:
    """The files that behaviours are read from, in order; CorpusError where one names none."""
    return [path for config in configs if config.kind in FILES for path in paths_of(config)]
