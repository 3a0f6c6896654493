"""Tables of latents and quanta, and what their columns mean."""

import pyarrow as pa

from ontogeny.results import Column

_Q = Column("quantum", "1", "number of the quantum, as in the analysis of quanta")
_LATENT = Column("latent", "1", "index of the latent")
_RANK = Column("rank", "1", "place among the quantum's latents, smallest p first, from 0")
_HOOK = Column("hook_point", "1", "hook point of the sources that the latent's times are read off")
_STEP = Column("step", "optimizer steps", "its training step, null where unknown")

QUANTA = (
    _Q,
    Column("n_tokens", "tokens", "its tokens"),
    Column("n_held_out", "tokens", "of these, with the token before them in the held-out text: what is looked at"),
    Column("n_documents", "1", "documents in which these lie"),
    Column("asked", "1", "whether there are enough of them to ask for its latents"),
    Column("n_latents", "1", "latents called enriched"),
    Column("n_latents_shuffled", "1", "the same with quanta shuffled among the tokens: false calls"),
    Column("best_latent", "1", "the first of them, null where there is none"),
    Column("emergence_step", "optimizer steps", "where its mean loss passes its threshold; null where censored"),
    Column("emergence_low", "optimizer steps", "its 95 % interval over documents; null: before the series"),
    Column("emergence_high", "optimizer steps", "its upper end; null: after the series"),
)
ENRICHED = (
    _Q,
    _RANK,
    _LATENT,
    Column("n_tokens", "tokens", "tokens of the quantum that are looked at"),
    Column("n_on", "tokens", "of these, with the latent on at the token before"),
    Column("n_on_documents", "1", "documents in which these lie"),
    Column("n_others", "tokens", "tokens of other quanta that are looked at"),
    Column("n_on_others", "tokens", "of these, with the latent on at the token before"),
    Column("lift", "1", "share of the quantum's tokens with the latent on, over that of all tokens looked at"),
    Column("log_odds", "nats", "log odds ratio against the other quanta, half a token added to each cell"),
    Column("log_odds_low", "nats", "its 95 % interval; standard error over documents"),
    Column("log_odds_high", "nats", "its upper end"),
    Column("p", "1", "exact test of enrichment, a document counted once a quantum"),
    Column("q", "fraction", "share of false ones if all up to this one are called, over all latents and quanta"),
)
PAIRS = (
    _Q,
    _RANK,
    _LATENT,
    _HOOK,
    Column("onset_step", "optimizer steps", "the latent's first live snapshot, null where live from the first on"),
    Column("half_rise_step", "optimizer steps", "where its strength has half risen; null where it does not rise"),
    Column("emergence_step", "optimizer steps", "where the quantum's mean loss passes its threshold; null: censored"),
    Column("difference", "octaves", "half-rise less emergence in log2(1 + step) (in snapshots without steps)"),
    Column("difference_low", "octaves", "its 95 % interval, by that of the quantum's emergence"),
    Column("difference_high", "octaves", "its upper end"),
)
TOGETHER = (
    _HOOK,
    Column("latents", "1", "best: the first latent of each quantum; all: the mean time over all that are listed"),
    Column("event", "1", "of the latent: half_rise or onset"),
    Column("n", "1", "quanta for which both times lie within the series"),
    Column("difference", "octaves", "mean of the latents' time less the quantum's"),
    Column("difference_low", "octaves", "its 95 % interval, a bootstrap of quanta"),
    Column("difference_high", "octaves", "its upper end"),
    Column("distance", "octaves", "mean of |difference|"),
    Column("shuffled_distance", "octaves", "the same with latents shuffled among quanta"),
    Column("shuffled_low", "octaves", "the middle 95 % of shuffles"),
    Column("shuffled_high", "octaves", "its upper end"),
    Column("distance_p", "1", "share of shuffles that are as near or nearer"),
    Column("spearman", "1", "rank correlation of both times; null where one side is all the same"),
    Column("spearman_p", "1", "share of shuffles that correlate as much or more"),
)
COURSES = (
    _Q,
    _RANK,
    _LATENT,
    Column("source", "1", "the source"),
    Column("snapshot", "1", "its snapshot"),
    _STEP,
    Column("strength", "fraction", "the latent's strength there over its largest at this hook point"),
    Column("loss", "nats", "mean loss of the quantum's tokens in this snapshot"),
    Column("loss_se", "nats", "standard error over documents, null in a single document"),
)
_TEXT = ("hook_point", "latents", "event", "source", "snapshot")
_WHOLE = (
    "quantum", "latent", "rank", "n_tokens", "n_held_out", "n_documents", "n_latents", "n_latents_shuffled",
    "best_latent", "n_on", "n_on_documents", "n_others", "n_on_others", "n", "step",
)  # fmt: skip
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_WHOLE, pa.int64()),
    "asked": pa.bool_(),
}


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """Names, numbers and text."""
    return pa.schema([(column.name, _TYPES.get(column.name, pa.float64())) for column in columns])
