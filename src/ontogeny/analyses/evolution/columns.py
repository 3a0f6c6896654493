"""The columns of evolution's tables: names, units, meanings, types."""

import pyarrow as pa

from ontogeny.results import Column

HOOK_POINT = Column("hook_point", "1", "place in the model; every hook point has a series of its own")
SOURCE = Column("source", "1", "source name: the snapshot's label, or label:hook_point")
STEP = Column("step", "optimizer steps", "training step of the source's snapshot, null where unknown")
TOKENS = Column("tokens", "tokens", "tokens that the source's snapshot was trained on, null where unknown")
LATENT = Column("latent", "1", "index of the latent")
MOMENT = (HOOK_POINT, SOURCE, STEP, TOKENS)

TRAJECTORIES = (
    LATENT,
    *MOMENT,
    Column("norm", "normalised activation", "norm of the latent's decoder in the source, in normalised space"),
    Column("norm_low", "normalised activation", "least norm of it and its matches in other seeds, null with one seed"),
    Column("norm_high", "normalised activation", "largest norm of it and its matches, null with one seed"),
    Column("share", "fraction", "strength over its largest in the series; null where the latent has no life"),
    Column("strength", "1", "what its life is read off: the norm, unless the config says otherwise"),
    Column("strength_se", "1", "standard error over documents; null where there is none, as for norms"),
    Column("kept", "fraction", "share of what the source predicts where it fires that the last does too; or null"),
    Column("live", "1", "whether the latent lives in the source"),
    Column("cosine_previous", "1", "cosine of its decoder with that of the source before, null in the first"),
    Column("cosine_last", "1", "cosine of its decoder with that of the last source"),
    Column("dimensionality", "dimensions", "feature dimensionality among the latents that fire, from 0 to 1"),
)
LATENTS = (
    LATENT,
    HOOK_POINT,
    Column("class", "1", "life of the latent: initialisation, persistent, discontinued, emergent, and so on"),
    Column("n_active", "tokens", "held-out tokens that the latent fires on"),
    Column("n_sources", "1", "sources of the series"),
    Column("n_live", "1", "sources that the latent lives in"),
    Column("onset", "1", "first source that it lives in, null where it lives nowhere"),
    Column("onset_step", "optimizer steps", "step of the onset's snapshot"),
    Column("onset_after_step", "optimizer steps", "step of the snapshot before: the onset lies after it"),
    Column("peak_source", "1", "source where it is strongest"),
    Column("peak_step", "optimizer steps", "step of the peak's snapshot"),
    Column("half_rise", "octaves", "when it has half risen, on the log time axis, interpolated; null without a rise"),
    Column("half_rise_step", "optimizer steps", "the same as a step"),
    Column("half_rise_step_low", "optimizer steps", "earliest half-rise of it and its matches, null with one seed"),
    Column("half_rise_step_high", "optimizer steps", "latest half-rise of it and its matches, null with one seed"),
    Column("half_rise_tokens", "tokens", "the same in tokens"),
    Column("lifetime", "octaves", "log time from onset to vanishing or to the series' end; a bound where censored"),
    Column("vanish", "1", "first source after the last that it lives in, null where it lives at the end"),
    Column("vanish_step", "optimizer steps", "step of that source's snapshot"),
    Column("censored", "1", "left: lives in the first source, right: in the last, both, or none; null without a life"),
    Column("least_kept", "fraction", "least of `kept` over the sources it lives in; null unless by prediction"),
    Column("norm", "normalised activation", "largest decoder norm over the series, in normalised space"),
    Column("norm_low", "normalised activation", "least of the largest norms over matched seeds, null with one seed"),
    Column("norm_high", "normalised activation", "largest of them, null with one seed"),
    Column("n_seeds", "1", "dictionaries that it was found in, this one counted; 1 where it has no interval"),
    Column("same_class", "fraction", "share of its matches in other seeds of its class, null without a match"),
    Column("turning_point", "1", "first source of its new direction, by the best single turn"),
    Column("turning_step", "optimizer steps", "step of that source's snapshot"),
    Column("turning_cosine", "1", "cosine of its mean directions before and after the turn"),
    Column("turning_explained", "fraction", "share of its directions' scatter that the turn explains"),
    Column("turning_p", "1", "how often the snapshots in random order are explained as well"),
    Column("turning_p_random", "1", "how often random directions of the same norms are explained as well"),
    Column("turning_q", "1", "turning_p adjusted for the many latents tested (Benjamini-Hochberg)"),
    Column("largest_rotation", "degrees", "largest angle between its decoders in neighbouring sources"),
    Column("largest_rotation_source", "1", "the later source of the two"),
)
DIRECTIONS = (
    LATENT,
    SOURCE,
    Column("other", "1", "source compared with"),
    Column("cosine", "1", "cosine of the latent's decoders in the two, null where one has norm 0"),
)
POPULATION = (
    *MOMENT,
    Column("live", "latents", "latents that live in the source"),
    Column("born", "latents", "of these, those that live here for the first time; null in the first source"),
    Column("gone", "latents", "latents that live in the source before and not here; null in the first source"),
    Column("dimensionality", "fraction", "sum of the latents' feature dimensionality over d_model"),
    Column("dimensionality_random", "fraction", "the same for random directions of the same norms"),
)
CLASSES = (
    HOOK_POINT,
    Column("class", "1", "life of a latent"),
    Column("n", "latents", "latents of this class"),
    Column("share", "fraction", "share of all latents"),
    Column("share_low", "fraction", "lower end of its 95 % interval over latents (Wilson)"),
    Column("share_high", "fraction", "upper end of its 95 % interval over latents (Wilson)"),
    Column("n_matches", "latents", "matches of these latents in other seeds"),
    Column("same_class", "fraction", "share of the matches that are of the same class, null without matches"),
    Column("same_class_low", "fraction", "lower end of its 95 % interval (Wilson)"),
    Column("same_class_high", "fraction", "upper end of its 95 % interval (Wilson)"),
)
COURSES = (
    HOOK_POINT,
    Column("class", "1", "life of a latent"),
    SOURCE,
    STEP,
    TOKENS,
    Column("n", "latents", "latents of this class"),
    Column("share", "fraction", "their mean strength, each over its largest"),
    Column("share_se", "fraction", "standard error of the mean over latents"),
)
SIMILARITY = (
    HOOK_POINT,
    SOURCE,
    Column("other", "1", "source compared with"),
    Column("n", "latents", "latents that live in both"),
    Column("cosine", "1", "mean cosine of their decoders in the two sources"),
    Column("cosine_se", "1", "standard error of the mean over latents"),
)
ROTATION = (
    *MOMENT,
    Column("other", "1", "the source before"),
    Column("n", "latents", "latents that live in both"),
    Column("rotation", "degrees", "mean angle between their decoders in the two sources"),
    Column("rotation_se", "degrees", "standard error of the mean over latents"),
    Column("shuffled", "degrees", "control: the angle between two different snapshots in random order"),
    Column("random_low", "degrees", "control: 2.5 % of random directions lie at less than this angle"),
    Column("turning", "latents", "latents that turn here, at the allowed share of false ones"),
)
STRIPS = (
    HOOK_POINT,
    Column("strip", "1", "latents in order of birth, the earliest first, cut into strips of equal number"),
    SOURCE,
    STEP,
    TOKENS,
    Column("n", "latents", "latents of the strip"),
    Column("share", "fraction", "their mean strength, each over its largest"),
)

_TEXT = {"hook_point", "source", "other", "class", "onset", "peak_source", "vanish", "censored", "turning_point"}
_TEXT |= {"largest_rotation_source"}
_COUNTS = {"latent", "step", "tokens", "n_active", "n_sources", "n_live", "onset_step", "onset_after_step", "peak_step"}
_COUNTS |= {"vanish_step", "n_seeds", "turning_step", "born", "gone", "n", "n_matches", "turning", "strip"}


def schema_of(columns: tuple[Column, ...], live_is_count: bool = False) -> pa.Schema:
    """Arrow types of these columns; `live` is a flag, or a count in the table of populations."""
    return pa.schema([(each.name, _type_of(each.name, live_is_count)) for each in columns])


def _type_of(name: str, live_is_count: bool) -> pa.DataType:
    if name == "live":
        return pa.int64() if live_is_count else pa.bool_()
    if name in _TEXT:
        return pa.string()
    return pa.int64() if name in _COUNTS else pa.float64()
