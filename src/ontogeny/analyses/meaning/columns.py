"""The columns of the tables of meaning."""

import pyarrow as pa

from ontogeny.results import Column

_LATENT = Column("latent", "1", "index of the latent")
LOGITS = (
    _LATENT,
    Column("source", "1", "the source whose decoder, final norm and unembedding are taken"),
    Column("side", "1", "top: promoted most; bottom: least"),
    Column("rank", "1", "0 is the most extreme"),
    Column("token_id", "1", "id of the token"),
    Column("token", "1", "the token, as text"),
    Column("effect", "logits", "change of its logit, less the mean change of all, by the latent's mean code"),
    Column("effect_se", "logits", "of it, what comes from the standard error of the mean code over documents"),
)
TOKENS = (
    _LATENT,
    Column("n_active", "tokens", "tokens on which it is on"),
    Column("token_id", "1", "token with most of its activation mass; null for a dead latent, as all that follows"),
    Column("token", "1", "that token, as text"),
    Column("purity", "fraction", "share of its activation mass on that token"),
    Column("purity_se", "fraction", "standard error of purity over documents"),
    Column("n_kinds", "1", "different tokens it is on"),
    Column("entropy", "bits", "entropy of its activation mass over tokens"),
    Column("entropy_se", "bits", "standard error of entropy, tokens taken for independent"),
    Column("context_entropy", "bits", "entropy of its activation mass over bigrams (the token before and the token)"),
    Column("place", "tokens", "mean place in the document of the tokens it is on"),
    Column("place_se", "tokens", "standard error of place over documents"),
    Column("unigram_mcc", "1", "how well the token says when it is on: Matthews' correlation on unseen documents"),
    Column("unigram_mcc_se", "1", "its standard error, tokens taken for independent"),
    Column("bigram_mcc", "1", "the same of the token and the one before it"),
    Column("bigram_mcc_se", "1", "its standard error"),
    Column("position_mcc", "1", "the same of the place in the document, in octaves"),
    Column("position_mcc_se", "1", "its standard error"),
    Column(
        "span",
        "tokens",
        "context that brings its activation back, geometric mean over examples; null: not measured",
    ),
    Column("span_log2_se", "octaves", "standard error of log2 span over examples"),
    Column("n_span", "1", "examples that the span rests on"),
    Column("n_censored", "1", "of these, examples on which only the whole row was enough"),
    Column("trigger", "tokens", "how many tokens back the token that matters most lies at least, median over examples"),
    Column("complexity", "1", "1 (one token) to 5, from entropy, MCC and span; see docs/analyses.md"),
    Column("complexity_se", "1", "its standard error, from those of its parts"),
    Column("complexity_parts", "1", "3 where the span was measured, else 2"),
)
RECOVERY = (
    _LATENT,
    Column("length", "tokens", "tokens of context left, the trigger included"),
    Column("recovered", "fraction", "its value there over its value in the whole row, mean over examples"),
    Column("recovered_se", "fraction", "standard error over examples"),
    Column("n_examples", "1", "examples"),
)
_WORDS = {"source", "side", "token"}
_WHOLE = {
    "latent", "rank", "token_id", "n_active", "n_kinds", "n_span", "n_censored", "complexity_parts", "length",
    "n_examples",
}  # fmt: skip


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """Arrow's types of these columns."""

    def kind(name: str) -> pa.DataType:
        return pa.string() if name in _WORDS else pa.int64() if name in _WHOLE else pa.float64()

    return pa.schema([(column.name, kind(column.name)) for column in columns])
