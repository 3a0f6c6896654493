"""The held-out text on which the benchmark of truth dates units: what each snapshot gives to what really follows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.truth_setting import Setting
from ontogeny.activations.stream import TokenColumns
from ontogeny.analyses.rules.matching import Units
from ontogeny.evaluation.ngrams import count_training, vocabulary_of
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import Documents
from ontogeny.latents.predictions import Predictions, look_up_bigram, measure_next_probabilities, predict_block
from ontogeny.pipeline.harvest import Harvest


@dataclass(frozen=True)
class HeldOutText:
    """Tokens of the held-out text, with the probability of what follows each: by snapshot, and by the bigram."""

    harvested: Harvest
    columns: TokenColumns
    probability: list[np.ndarray]
    bigram: np.ndarray

    def read(self, hook_point: str) -> Tensor:
        """Activations [token source d_model] of every snapshot at a hook point."""
        store = self.harvested.held_out
        chosen = [place for place, source in enumerate(store.sources) if str(source.hook_point) == hook_point]
        return store.read_rows(np.arange(store.n_rows))[:, chosen].float()

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids [row position] of the text's rows, and the row (among these) and position of every token."""
        rows, place = np.unique(self.columns.row, return_inverse=True)
        return np.asarray(self.harvested.corpus.tokens)[rows], place, np.asarray(self.columns.position)

    def predict(self, units: Units) -> Predictions:
        """What the snapshots predict where units fire, as the analysis `evolution` has it of latents."""
        order = np.lexsort((units.token, units.unit))
        n_snapshots = len(self.probability)
        block = LatentBlock(
            first=0,
            pointer=np.searchsorted(units.unit[order], np.arange(units.n_units + 1)),
            tokens=units.token[order],
            values=units.value[order],
            norms=np.ones((units.n_units, n_snapshots), dtype=np.float32),
        )
        documents = Documents.from_columns(self.columns)
        return predict_block(block, documents, self.probability, self.bigram, [n_snapshots - 1] * n_snapshots)


def open_text(setting: Setting, harvested: Harvest, scratch: Path) -> HeldOutText:
    """Read the held-out text with every snapshot."""
    store, corpus, series = harvested.held_out, harvested.corpus, setting.series
    columns = TokenColumns.concatenate([store.index.columns(shard) for shard in range(store.n_shards)])
    given = measure_next_probabilities(series, series.labels, corpus, columns, scratch, model_batch=64)
    ngrams = count_training(corpus, vocabulary_of(series, corpus))
    bigram = look_up_bigram(corpus, columns, ngrams)
    return HeldOutText(harvested, columns, [given[label] for label in series.labels], bigram)


def strongest(values: np.ndarray, share: float = 0.05) -> Units:
    """Where dense units fire: on the tokens of their largest values, as strongly as they exceed the others."""
    least = np.quantile(values, 1 - share, axis=0)
    unit, token = np.nonzero((values > least).T)
    above = values[token, unit] - least[unit]
    return Units(unit, token, above.astype(np.float32), values.shape[1], len(values))
