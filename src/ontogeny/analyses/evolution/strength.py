"""The strength that lives are read off, one way or another, with what is known of its error."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.evolution.activity import Activity, compute_strength
from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.evaluation.ngrams import count_training, vocabulary_of
from ontogeny.latents.predictions import compute_predictions, look_up_bigram, measure_next_probabilities
from ontogeny.latents.times import series_by_hook_point

TRAIN_TOKENS = 20_000_000
"""Tokens of training rows that the bigram is counted on."""


@dataclass(frozen=True)
class Strength:
    """The strength of every latent in every source, and the tokens it fires on.

    `se`: its standard error; `kept`: the share of what a source's snapshot predicts where the latent fires that the
    last one of its series predicts too. Both are known of predictions alone.
    """

    value: Float[np.ndarray, "latent source"]
    n_active: Int[np.ndarray, " latent"]
    se: Float[np.ndarray, "latent source"] | None = None
    kept: Float[np.ndarray, "latent source"] | None = None

    def take(self, places: list[int]) -> "Strength":
        """That of some sources."""
        se, kept = (None if each is None else each[:, places] for each in (self.se, self.kept))
        return Strength(self.value[:, places], self.n_active, se, kept)


def measure_strength(inputs: AnalysisInputs, config: EvolutionConfig) -> Strength:
    """The strength asked for: from the decoders, from what rode on the pass, or from the snapshots' predictions.

    By prediction: the gain over the bigram (`latents/predictions.py`), 0 where it is not above `sure` standard errors.
    """
    if config.strength != "prediction":
        return Strength(*compute_strength(inputs.dictionary, inputs.accumulated))
    assert inputs.codes is not None and isinstance(inputs.accumulated, Activity), "predictions rest on the codes"
    series, corpus, codes = inputs.series, inputs.corpus, inputs.codes
    labels = [source.snapshot.label for source in inputs.sources]
    given = measure_next_probabilities(series, labels, corpus, codes.columns, inputs.scratch, inputs.device)
    bigram = look_up_bigram(corpus, codes.columns, count_training(corpus, vocabulary_of(series, corpus), TRAIN_TOKENS))
    last = np.empty(len(labels), dtype=np.int64)
    for places in series_by_hook_point(inputs.sources).values():
        last[places] = places[-1]
    found = compute_predictions(codes, [given[label] for label in labels], bigram, last.tolist())
    value = found.certain(config.sure)
    return Strength(value, inputs.accumulated.n_active, found.se, found.kept)
