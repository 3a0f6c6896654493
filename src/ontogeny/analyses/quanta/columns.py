"""Tables of quanta and what their columns mean."""

import pyarrow as pa

from ontogeny.results import Column

_Q = Column("quantum", "1", "number of the quantum at the last snapshot at which tokens were clustered, by size from 0")
_STEP = Column("step", "optimizer steps", "its training step, null where unknown")
_TOKENS = Column("tokens", "tokens", "tokens that it was trained on, null where unknown")

QUANTA = (
    _Q,
    Column("top_token", "1", "its most frequent predicted token"),
    Column("top_share", "fraction", "of its tokens"),
    Column("n_tokens", "tokens", "its tokens"),
    Column("share", "fraction", "of all clustered tokens"),
    Column("n_documents", "1", "documents that they lie in"),
    Column("cohesion", "1", "mean cosine over its pairs of tokens, null for a single token"),
    Column("cohesion_low", "1", "its interval, a bootstrap of documents; null in a single document"),
    Column("cohesion_high", "1", "its upper end"),
    Column("emergence_step", "optimizer steps", "where its mean loss falls below its threshold; null where censored"),
    Column("emergence_low", "optimizer steps", "its interval, a bootstrap of documents; null: before the series"),
    Column("emergence_high", "optimizer steps", "its upper end; null: after the series"),
    Column("censored", "1", "no; left: below the threshold in the first snapshot already; right: never below it"),
    Column("threshold", "nats", "mean loss at which it counts as emerged, null where the loss does not fall"),
    Column("forgotten", "1", "whether its mean loss is above the threshold again in the last snapshot"),
    Column("loss_first", "nats", "mean loss in the first snapshot of the series"),
    Column("loss_last", "nats", "mean loss in the last snapshot of the series"),
    Column("stability", "1", "mean Jaccard with its best match when documents are drawn anew; null where not asked"),
    Column("stability_se", "1", "standard error of stability over draws"),
    Column("stability_chance", "1", "the same with labels shuffled"),
    Column("found_since", "1", "first snapshot from which on a cluster is linked with it at every one compared"),
    Column("n_distinct", "1", "different predicted tokens"),
)
TOKENS = (
    _Q,
    Column("rank", "1", "place in the quantum, most central first, from 0"),
    Column("index", "1", "canonical index of the predicted token"),
    Column("document", "1", "number of the document in the corpus"),
    Column("position", "tokens", "place of the token in its document, from 0"),
    Column("token_id", "1", "the predicted token's id"),
    Column("token", "1", "the predicted token"),
    Column("loss", "nats", "its loss in the last snapshot of the series"),
    Column("centrality", "1", "mean cosine to the other tokens of its quantum, null for a single one"),
    Column("membership", "fraction", "its share in its quantum among soft shares in all; null where not asked"),
    Column("n_effective", "1", "over how many quanta it is spread, exp of the shares' entropy; null where not asked"),
    Column("before", "1", "tokens before it in its document"),
    Column("after", "1", "tokens after it"),
)
LOSSES = (
    _Q,
    Column("snapshot", "1", "label of the snapshot"),
    _STEP,
    _TOKENS,
    Column("loss", "nats", "mean loss over the quantum's tokens"),
    Column("loss_se", "nats", "standard error over documents, null in a single document"),
    Column("loss_low", "nats", "its interval, a bootstrap of documents"),
    Column("loss_high", "nats", "its upper end"),
    Column("n", "tokens", "tokens that the mean is over"),
)
TOKEN_LOSSES = (
    Column("index", "1", "canonical index of the predicted token"),
    Column("snapshot", "1", "label of the snapshot"),
    Column("loss", "nats", "its loss"),
)
NEIGHBOURS = (
    _Q,
    Column("other", "1", "a near quantum, nearest first"),
    Column("cosine", "1", "mean cosine over pairs of one token each"),
    Column("cosine_se", "1", "standard error, a bootstrap of documents"),
)
MATCHES = (
    Column("from_snapshot", "1", "label of the earlier snapshot"),
    Column("to_snapshot", "1", "label of the next snapshot at which tokens were clustered"),
    Column("quantum", "1", "cluster at to_snapshot, null for a death"),
    Column("match", "1", "cluster at from_snapshot that it comes from, null for a birth"),
    Column("jaccard", "1", "shared tokens over all of both; of births and deaths that of the best that is no match"),
    Column("share", "fraction", "of the tokens of `match` that lie in `quantum`"),
    Column("share_back", "fraction", "of the tokens of `quantum` that lie in `match`"),
    Column("n_shared", "tokens", "tokens in both"),
    Column("q", "fraction", "share of false links at this one, against shuffled labels"),
    Column("event", "1", "birth, kept, merge, split or death"),
)
LABELS = (
    Column("index", "1", "canonical index of the predicted token"),
    Column("snapshot", "1", "label of the snapshot"),
    Column("cluster", "1", "cluster of the token there, numbered by size at that snapshot"),
)
ENVELOPE = (
    Column("rank", "1", "rank of a cluster by size, from 1"),
    Column("size", "tokens", "the largest cluster of that rank over all numbers of clusters"),
    Column("low", "tokens", "its interval, a bootstrap of documents"),
    Column("high", "tokens", "its upper end"),
    Column("control", "tokens", "mean of the same where clusters of known sizes are planted"),
    Column("truth", "tokens", "the planted sizes"),
)
_TEXT = ("snapshot", "censored", "found_since", "top_token", "token", "from_snapshot", "to_snapshot", "event")
_WHOLE = (
    "quantum", "n_tokens", "n_documents", "n_distinct", "rank", "index", "document", "position", "token_id", "step",
    "tokens", "n", "other", "match", "n_shared", "cluster",
)  # fmt: skip
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_WHOLE, pa.int64()),
    **dict.fromkeys(("before", "after"), pa.list_(pa.string())),
    "forgotten": pa.bool_(),
}


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """Names, numbers and text."""
    return pa.schema([(column.name, _TYPES.get(column.name, pa.float64())) for column in columns])
