"""What the snapshots predict where latents fire: the probability that each gives to what really follows.

A latent says where something is at work; whether a snapshot can do it there says its own prediction, with no decoder
and no norm in between. Of latent j, snapshot s, and the tokens t of the pass at which j fires and something follows:

    gain[j, s] = sum_t f_tj (p_s(next_t) - p_bigram(next_t)) / sum_t f_tj
    kept[j, s] = sum_t f_tj min(p_s(next_t), p_last(next_t)) / sum_t f_tj p_s(next_t)

Against the bigram, since every model first learns what follows a token whatever stands before; as a probability and not
in nats, so that text of which a snapshot is wrongly sure costs no more than text of which it knows nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save

from ontogeny.activations.stream import TokenColumns
from ontogeny.errors import NonFiniteError
from ontogeny.evaluation.ngrams import Ngrams, counted_positions
from ontogeny.interventions.clean import name_text, run_clean
from ontogeny.interventions.splice import compute_token_losses, predicted_positions
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.documents import DocumentRuns, Documents
from ontogeny.latents.windows import PassPlaces
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus
from ontogeny.workspace import write_bytes

BLOCK_PAIRS = 1 << 21
"""Pairs of latents that are summed together."""


@dataclass(frozen=True)
class Predictions:
    """What the sources' snapshots predict where latents fire; NaN for a latent that fires where nothing follows.

    `gain`: the probability given to what follows, less the bigram's, with its standard error over documents (NaN with
    one); `kept`: of the probability that the source's snapshot gives, the share that the last one of its series gives
    to the same tokens.
    """

    gain: Float[np.ndarray, "latent source"]
    se: Float[np.ndarray, "latent source"]
    kept: Float[np.ndarray, "latent source"]

    def certain(self, errors: float) -> Float[np.ndarray, "latent source"]:
        """The gain, 0 where it is not above this many standard errors, or has none."""
        return np.where(self.gain > errors * self.se, self.gain, 0.0)


def compute_predictions(
    codes: CodeCache,
    probability: Sequence[Float[np.ndarray, " token"]],
    bigram: Float[np.ndarray, " token"],
    last: Sequence[int],
) -> Predictions:
    """Predictions of all latents, block after block.

    probability: per source, what its snapshot gives to the token after each token of the pass; bigram: what the bigram
    gives it; NaN where none follows.
    last: per source, the place of the last source of its series.
    """
    documents = Documents.from_columns(codes.columns)
    blocks = codes.iter_blocks(BLOCK_PAIRS)
    parts = [predict_block(block, documents, probability, bigram, last) for block in blocks]
    return Predictions(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Predictions))
    )


def predict_block(
    block: LatentBlock,
    documents: Documents,
    probability: Sequence[Float[np.ndarray, " token"]],
    bigram: Float[np.ndarray, " token"],
    last: Sequence[int],
) -> Predictions:
    """The predictions of a block's latents; arguments as `compute_predictions` has them."""
    block = block.keep(~np.isnan(bigram[block.tokens]))
    known = bigram[block.tokens]
    runs = DocumentRuns.of_block(block, documents)
    weight = runs.sums(block.values)
    found = np.full((3, block.n_latents, len(probability)), np.nan)
    for source, given in enumerate(probability):
        here, at_end = given[block.tokens], probability[last[source]][block.tokens]
        found[0, :, source], found[1, :, source] = runs.ratio(runs.sums(block.values * (here - known)), weight)
        both = runs.sums(block.values * np.minimum(here, at_end))
        found[2, :, source], _ = runs.ratio(both, runs.sums(block.values * here))
    return Predictions(*found)


def look_up_bigram(corpus: Corpus, columns: TokenColumns, ngrams: Ngrams) -> Float[np.ndarray, " token"]:
    """What the bigram gives to the token that follows each token of the pass, NaN where none does."""
    given = np.full(len(columns.row), np.nan)
    places = PassPlaces.from_columns(columns, corpus)
    counted = counted_positions(corpus, places.rows, len(ngrams.unigram)) & (places.tokens >= 0)
    row, position = counted.nonzero()
    ids = np.asarray(corpus.tokens[places.rows]).astype(np.int64)
    given[places.tokens[row, position]] = ngrams.probability(ids[row, position], ids[row, position + 1])
    return given


def measure_next_probabilities(
    series: SnapshotSeries,
    labels: Sequence[str],
    corpus: Corpus,
    columns: TokenColumns,
    scratch: Path,
    device: str = "cpu",
    model_batch: int = 8,
) -> dict[str, Float[np.ndarray, " token"]]:
    """By snapshot: the probability of the token that follows each token of the pass, NaN where none does.

    None follows at the end of a row or document. Snapshots are opened one at a time, as far as `scratch` has not their
    file yet. NonFiniteError names a snapshot whose loss is not finite.
    """
    places = PassPlaces.from_columns(columns, corpus)
    stamp = hashlib.sha256(name_text(corpus).encode() + np.ascontiguousarray(columns.row).tobytes()).hexdigest()[:12]
    found = {}
    for label in dict.fromkeys(labels):
        index = series.labels.index(label)
        file = scratch / f"next-{index:04d}.{stamp}.safetensors"
        if not file.is_file():
            dtype = "float32" if device.startswith("cpu") else "bfloat16"
            model = series.open(index, device, dtype)
            given = np.full(len(columns.row), np.nan, dtype=np.float32)
            for start in range(0, len(places.rows), model_batch):
                block = slice(start, start + model_batch)
                tokens, losses = _read_losses(model, corpus, places.rows[block], places.tokens[block], label)
                given[tokens] = np.exp(-losses)
            del model
            write_bytes(file, save({"probability": given}))
        found[label] = load_file(file)["probability"]
    return found


def _read_losses(
    model: HookedModel,
    corpus: Corpus,
    rows: Int[np.ndarray, " row"],
    tokens: Int[np.ndarray, "row position"],
    label: str,
) -> tuple[Int[np.ndarray, " predicted"], Float[np.ndarray, " predicted"]]:
    """Tokens of the pass in some rows that something follows, and the loss on what follows, nats."""
    clean = run_clean(model, corpus, rows, label, [])
    predicted = predicted_positions(corpus, rows) & (tokens >= 0)
    # A snapshot may read other words for template tokens, but is asked for the text's own.
    targets = torch.from_numpy(np.array(corpus.tokens[rows])).long().to(clean.logits.device)
    losses, _ = compute_token_losses(clean.logits, targets, torch.from_numpy(predicted).to(clean.logits.device))
    values: np.ndarray = losses.cpu().numpy()
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"snapshot {label} predicts a token of the held-out text with a loss that is not finite; leave the "
            "snapshot out, or look at its weights with `ontogeny audit`."
        )
    return tokens[predicted], values
