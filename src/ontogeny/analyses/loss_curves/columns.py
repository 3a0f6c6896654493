"""Tables of loss curves and what their columns mean."""

import pyarrow as pa

from ontogeny.results import Column

_SIZE = Column("size", "1", "name of the series: `series` is the recipe's own")
_SNAPSHOT = Column("snapshot", "1", "label of the snapshot")
_STEP = Column("step", "optimizer steps", "its training step, null where unknown")
_OVER = Column("over", "1", "what columns are: snapshots of the series of this name, or `sizes`")
MEANS = (
    _SIZE,
    _SNAPSHOT,
    _STEP,
    Column("tokens", "tokens", "tokens that it was trained on, null where unknown"),
    Column("loss", "nats", "mean loss over predicted tokens"),
    Column("loss_se", "nats", "standard error over documents"),
    Column("loss_low", "nats", "its interval, a bootstrap of documents"),
    Column("loss_high", "nats", "its upper end"),
    Column("n", "tokens", "predicted tokens"),
    Column("n_documents", "1", "documents that they lie in"),
)
FITS = (
    _OVER,
    Column("x", "1", "tokens, step or parameters (without embedding and unembedding)"),
    Column("exponent", "1", "of the power law: least squares of log loss on log x"),
    Column("exponent_se", "1", "its standard error as of independent residuals, null for two points"),
    Column("exponent_low", "1", "interval over draws of documents, the same points fitted"),
    Column("exponent_high", "1", "its upper end"),
    Column("constant", "nats", "loss of the power law at x = 1"),
    Column("r2", "fraction", "of the variance of log loss"),
    Column("n", "1", "points"),
    Column("first", "1", "smallest x"),
    Column("last", "1", "largest x"),
)
DENSITIES = (
    _SIZE,
    _SNAPSHOT,
    _STEP,
    Column("bin_low", "nats", "where the bin begins; bins without tokens are left out"),
    Column("bin_high", "nats", "where it ends"),
    Column("density", "1/nats", "p(L): share of tokens in the bin by its width"),
    Column("density_se", "1/nats", "standard error over documents"),
    Column("contribution", "1", "L · p(L) at the bin's middle: what it adds to the mean loss, by its width"),
    Column("n", "tokens", "tokens in the bin"),
)
CHANGES = (
    _OVER,
    Column("column", "1", "the snapshot, or the size"),
    _STEP,
    Column("n_solved", "tokens", "tokens below `low` here for the first time"),
    Column("stays", "fraction", "of these, below `low` in all later columns"),
    Column("stays_low", "fraction", "its interval, a bootstrap of documents"),
    Column("stays_high", "fraction", "its upper end"),
    Column("n_emerged", "tokens", "tokens whose loss falls below their threshold here for the first time"),
    Column("emerged", "fraction", "of all tokens"),
    Column("emerged_low", "fraction", "its interval, a bootstrap of documents"),
    Column("emerged_high", "fraction", "its upper end"),
    Column("forgotten", "fraction", "of those that emerged here, above the threshold again in the last column"),
    Column("forgotten_low", "fraction", "its interval, a bootstrap of documents"),
    Column("forgotten_high", "fraction", "its upper end"),
    Column("n_monogenic", "tokens", "tokens above `high` in all columns before and below `low` from this one on"),
    Column("monogenic", "fraction", "of all tokens"),
    Column("monogenic_low", "fraction", "its interval, a bootstrap of documents"),
    Column("monogenic_high", "fraction", "its upper end"),
)
KINDS = (
    _OVER,
    Column("kind", "1", "monogenic, polygenic, solved (ever), emerged (ever) or forgotten (of those)"),
    Column("n", "tokens", "tokens of this kind"),
    Column("n_of", "tokens", "among so many"),
    Column("share", "fraction", "n / n_of"),
    Column("share_low", "fraction", "its interval, a bootstrap of documents"),
    Column("share_high", "fraction", "its upper end"),
)
TOKENS = (
    _OVER,
    Column("kind", "1", "monogenic, polygenic, or listed: clustered, else evenly spaced"),
    Column("index", "1", "canonical index of the predicted token"),
    Column("document", "1", "number of the document in the corpus"),
    Column("position", "tokens", "place of the token in its document, from 0"),
    Column("token_id", "1", "the predicted token's id"),
    Column("token", "1", "the predicted token"),
    Column("before", "1", "text before it in its document"),
    Column("loss_first", "nats", "its loss in the first column"),
    Column("loss_last", "nats", "its loss in the last column"),
    Column("emergence_step", "optimizer steps", "where its loss falls below its threshold; null where censored"),
    Column("emergence_low", "optimizer steps", "the last snapshot above it, null where there is none"),
    Column("emergence_high", "optimizer steps", "the first snapshot below it, null where there is none"),
    Column("censored", "1", "no; left: below the threshold in the first snapshot already; right: never below it"),
    Column("forgotten", "1", "whether its loss is above the threshold again in the last snapshot"),
    Column("relapses", "1", "how often its loss rose above the threshold again"),
    Column("slope", "nats", "of its loss on ln x, per e-fold; null with fewer than three columns"),
    Column("slope_r2", "fraction", "R² of that line"),
)
ALIKE = (
    Column("index", "1", "canonical index of a listed token"),
    Column("other", "1", "another listed token, most correlated first"),
    Column("correlation", "1", "of their losses over the snapshots of the recipe's own series"),
    Column("correlation_low", "1", "its interval by Fisher's z, null with fewer than four snapshots"),
    Column("correlation_high", "1", "its upper end"),
    Column("n", "1", "snapshots"),
)
_TEXT = ("size", "snapshot", "over", "x", "column", "kind", "token", "before", "censored")
_WHOLE = (
    "step", "tokens", "n", "n_documents", "n_solved", "n_emerged", "n_monogenic", "n_of", "index", "document",
    "position", "token_id", "relapses", "other",
)  # fmt: skip
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_WHOLE, pa.int64()),
    "forgotten": pa.float64(),
}


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """Names, numbers and text; `forgotten` is a share, or of a single token yes or no."""
    types = _TYPES | ({"forgotten": pa.bool_()} if columns is TOKENS else {})
    return pa.schema([(column.name, types.get(column.name, pa.float64())) for column in columns])
