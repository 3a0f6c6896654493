"""Tables of tokens put to quanta and what their columns mean."""

import pyarrow as pa

from ontogeny.results import Column

_Q = Column("quantum", "1", "number of the quantum at the snapshot asked for, by its clustered tokens from 0")

QUANTA = (
    _Q,
    Column("top_token", "1", "most frequent predicted token among those assigned; null where there are none"),
    Column("top_share", "fraction", "of those assigned"),
    Column("n_assigned", "tokens", "new tokens assigned to it"),
    Column("n_documents", "1", "documents that they lie in"),
    Column("share", "fraction", "of all new tokens"),
    Column("share_low", "fraction", "its interval, a bootstrap of documents"),
    Column("share_high", "fraction", "its upper end"),
    Column("cosine", "1", "mean over them of the mean cosine with its landmarks"),
    Column("loss_first", "nats", "their mean loss in the first snapshot of the series"),
    Column("loss_last", "nats", "their mean loss in the last snapshot of the series"),
    Column("n_landmarks", "tokens", "its clustered tokens"),
    Column("asked", "1", "whether these are enough to be given others"),
    Column("recall", "fraction", "of its landmarks, held out, those that come back to it"),
    Column("precision", "fraction", "of the landmarks, held out, that come to it, those that are its own"),
    Column("n_back", "tokens", "landmarks, held out, that come to it"),
    Column("min_cosine", "1", "what a token's cosine must reach; null where no landmark came back"),
)
LOSSES = (
    _Q,
    Column("snapshot", "1", "label of the snapshot"),
    Column("step", "optimizer steps", "its training step, null where unknown"),
    Column("tokens", "tokens", "tokens that it was trained on, null where unknown"),
    Column("loss", "nats", "mean loss over the new tokens assigned to the quantum"),
    Column("loss_se", "nats", "standard error over documents, null in a single document"),
    Column("loss_low", "nats", "its interval, a bootstrap of documents"),
    Column("loss_high", "nats", "its upper end"),
    Column("n", "tokens", "tokens that the mean is over"),
)
ASSIGNMENTS = (
    Column("index", "1", "canonical index of the predicted token"),
    Column("document", "1", "number of the document in the corpus"),
    Column("position", "tokens", "place of the token in its document, from 0"),
    Column("token", "1", "the predicted token"),
    Column("quantum", "1", "the quantum it is assigned to, null for none"),
    Column("nearest", "1", "the best quantum, assigned or not"),
    Column("score", "1", "of that: mean cosine, or less the distance in the embedding"),
    Column("margin", "1", "by how much the score beats that of the second best"),
    Column("cosine", "1", "mean cosine with the landmarks of the nearest quantum"),
    Column("loss", "nats", "its loss in the last snapshot of the series"),
)
_TEXT = ("top_token", "snapshot", "token")
_WHOLE = (
    "quantum", "n_assigned", "n_documents", "n_landmarks", "n_back", "step", "tokens", "n", "index", "document",
    "position", "nearest",
)  # fmt: skip
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_WHOLE, pa.int64()),
    "asked": pa.bool_(),
}


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """Names, numbers and text."""
    return pa.schema([(column.name, _TYPES.get(column.name, pa.float64())) for column in columns])
