"""The columns of the tables of an ablation."""

import pyarrow as pa

from ontogeny.results import Column

_BEHAVIOUR = Column("behaviour", "1", "name of the behaviour")
_SOURCE = Column("source", "1", "source in which latents are changed")
_STEP = Column("step", "optimizer steps", "training step of its snapshot, null where unknown")
_RANKING = Column("ranking", "1", "by what latents are ordered, or how a control draws them")
_ERROR = Column("error", "1", "whether what the dictionary leaves unexplained is kept, or moved to the baseline too")
_N = Column("n", "1", "prompts of the measuring half")
_CLUSTERS = Column("n_clusters", "1", "independent groups of them")
_MEASURES = (
    _N,
    _CLUSTERS,
    Column("accuracy", "fraction", "prompts whose right answer is likelier (ties count half); null without wrong ones"),
    Column("accuracy_low", "fraction", "its 95 % interval over draws of clusters (and of a control's latents)"),
    Column("accuracy_high", "fraction", "its upper end"),
    Column("difference", "nats", "mean logit(right) - logit(wrong); log P(right) without wrong answers"),
    Column("difference_low", "nats", "its 95 % interval over draws of clusters (and of a control's latents)"),
    Column("difference_high", "nats", "its upper end"),
)
_CURVE = (
    _BEHAVIOUR,
    _SOURCE,
    _STEP,
    _RANKING,
    Column("control", "1", "whether the latents were drawn at random"),
    _ERROR,
    Column("count", "1", "latents changed (ablated), or not changed (kept)"),
    *_MEASURES,
)
_SEEDS = (
    Column("n_seeds", "1", "draws of a control's latents, 1 for a ranking"),
    Column("seed_sd", "nats", "standard deviation of the difference over them, null for one"),
)
REFERENCE = (
    _BEHAVIOUR,
    _SOURCE,
    _STEP,
    Column("baseline", "1", "where what moves goes"),
    Column("state", "1", "what is at the baseline: untouched (nothing), latents (all), error (alone), everything"),
    Column("n_latents", "1", "latents that move on some prompt"),
    *_MEASURES,
)
ABLATED = (
    *_CURVE,
    Column("completeness", "fraction", "of what ablating all latents does, how much this does; null where that is 0"),
    Column("completeness_low", "fraction", "its 95 % interval"),
    Column("completeness_high", "fraction", "its upper end"),
    *_SEEDS,
)
KEPT = (
    *_CURVE,
    Column("faithfulness", "fraction", "of what ablating all latents takes, how much these keep; null where that is 0"),
    Column("faithfulness_low", "fraction", "its 95 % interval"),
    Column("faithfulness_high", "fraction", "its upper end"),
    *_SEEDS,
)
HALVES = (
    _BEHAVIOUR,
    _SOURCE,
    _STEP,
    _RANKING,
    Column("mode", "1", "ablate: completeness reaches one half; keep: faithfulness does"),
    _ERROR,
    Column("half_count", "1", "how many latents that takes, between counts by their logarithm; null: never reached"),
    Column("half_count_low", "1", "its 95 % interval; null where it reaches beyond what was measured"),
    Column("half_count_high", "1", "its upper end"),
    _N,
    _CLUSTERS,
)
CONTRASTS = (
    _BEHAVIOUR,
    _SOURCE,
    _STEP,
    _RANKING,
    Column("against", "1", "the control"),
    Column("mode", "1", "ablate, or keep"),
    _ERROR,
    Column("advantage", "nats", "mean over counts: how much more the ranking destroys (ablate) or keeps than it"),
    Column("advantage_low", "nats", "its 95 % interval, paired by draw of clusters"),
    Column("advantage_high", "nats", "its upper end"),
    Column("n_counts", "1", "counts that both have"),
    _N,
    _CLUSTERS,
)
SINGLES = (
    Column("latent", "1", "index of the latent"),
    _BEHAVIOUR,
    _SOURCE,
    _STEP,
    _N,
    _CLUSTERS,
    Column("estimate", "nats", "mean indirect effect on the choosing half"),
    Column("ablated", "nats", "mean rise of logit(wrong) - logit(right) with it alone at the baseline"),
    Column("ablated_se", "nats", "its standard error over clusters"),
    Column("accuracy_change", "fraction", "change of accuracy by that"),
    Column("share", "fraction", "RelIE of the choosing half; null where its effect is noise in all sources"),
    Column("norm_share", "fraction", "share of the decoder's norm, normalised space"),
    Column("ablated_share", "fraction", "share of its ablation: over the source's total effect, less noise"),
)
AGREEMENT = (
    _BEHAVIOUR,
    Column("earlier", "1", "one of two neighbouring sources"),
    Column("later", "1", "the next in order of training"),
    Column("predictor", "1", "share (RelIE) or norm_share: the later's part of the sum of both"),
    Column("rho", "1", "its rank correlation over latents with the later's part of the ablation's size"),
    Column("rho_low", "1", "its 95 % interval over draws of latents"),
    Column("rho_high", "1", "its upper end"),
    Column("n", "1", "latents ablated one by one with a part in both"),
)
RANKED = (
    Column("latent", "1", "index of the latent"),
    _BEHAVIOUR,
    _SOURCE,
    _RANKING,
    Column("rank", "1", "0 is the first to be changed"),
    Column("estimate", "nats", "mean indirect effect on the choosing half"),
    Column("share", "fraction", "RelIE there; null where its effect is noise in all sources"),
    Column("norm_share", "fraction", "share of the decoder's norm"),
    Column("activation", "1", "mean contribution there, normalised space"),
)
CONTROLS = (
    _BEHAVIOUR,
    _SOURCE,
    Column("against", "1", "the control"),
    Column("seed", "1", "which of its draws"),
    Column("n_latents", "1", "first latents of it that are compared"),
    Column("norm", "1", "their mean decoder norm"),
    Column("norm_of_ranking", "1", "that of as many first latents of the first ranking"),
    Column("activation", "1", "their mean contribution"),
    Column("activation_of_ranking", "1", "that of as many first latents of the first ranking"),
)
_TEXT = (
    "behaviour",
    "source",
    "ranking",
    "error",
    "baseline",
    "state",
    "mode",
    "against",
    "earlier",
    "later",
    "predictor",
)
_COUNTS = ("step", "count", "n", "n_clusters", "n_latents", "n_seeds", "n_counts", "latent", "rank", "seed")


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow types of these columns."""
    kinds = {**dict.fromkeys(_TEXT, pa.string()), **dict.fromkeys(_COUNTS, pa.int64()), "control": pa.bool_()}
    return pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in columns])
