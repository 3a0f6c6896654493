"""Evolution put together: every series computed, its tables, its views, and what they say in sentences."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.evolution.population import population_tables
from ontogeny.analyses.evolution.seeds import compute_spread, match_seed
from ontogeny.analyses.evolution.series import SeriesEvolution, compute_series, plan_series
from ontogeny.analyses.evolution.strength import measure_strength
from ontogeny.analyses.evolution.tables import Followed, direction_table, latent_table, trajectory_table
from ontogeny.latents.directions import least_turning_p, random_cosine_bound
from ontogeny.latents.trajectories import CLASSES
from ontogeny.results import Result, View


def make_result(inputs: AnalysisInputs, config: EvolutionConfig) -> Result:
    """Follow the latents along every hook point's series."""
    dictionary = inputs.dictionary
    strength = measure_strength(inputs, config)
    matches = [match_seed(dictionary, inputs.others[name], name, config) for name in config.seeds]
    series = []
    for plan in plan_series(inputs.sources):
        evolution = compute_series(dictionary, plan, strength, config)
        spread = compute_spread(evolution, matches, plan, config) if matches else None
        series.append(Followed(evolution, spread))
    tables = (
        latent_table(series),
        trajectory_table(series),
        direction_table(series, dictionary, config),
        *population_tables(series, config),
    )
    return Result("evolution", tables, make_views(series), make_summary(series, config))


def make_views(series: Sequence[Followed]) -> tuple[View, ...]:
    """How the tables are best looked at; time is the step where every step is known, else the source's name."""
    plans = [each.evolution.plan for each in series]
    x = "step" if all(step is not None for plan in plans for step in plan.steps) else "source"
    apart = "hook_point" if len(series) > 1 else None
    timed = x == "step"
    views = [
        View("heatmap", "strips", "All lives: latents in order of birth", x="source", y=("strip",), value="share"),
        View("line", "courses", "Mean strength by class of life", x=x, y=("share",), group="class", error="share_se"),
        View("line", "population", "Latents that live, are born and are gone", x=x, y=("live", "born", "gone")),
        View("scatter", "classes", "Classes of lives", x="class", y=("share",), group=apart),
        View("heatmap", "similarity", "Do latents point the same way?", x="source", y=("other",), value="cosine"),
        View("line", "rotation", "Rotation between neighbours", x=x, y=("rotation", "shuffled", "random_low")),
        View("line", "rotation", "Latents that turn here", x=x, y=("turning",), group=apart),
        View("line", "population", "Dimensions used", x=x, y=("dimensionality", "dimensionality_random")),
        View("line", "trajectories", "Decoder norms of single latents", x=x, y=("norm",), group="latent"),
    ]
    if timed:
        views.insert(3, View("histogram", "latents", "When latents half-rise", x="half_rise_step", log_x=True))
    return tuple(views)


def make_summary(series: Sequence[Followed], config: EvolutionConfig) -> dict[str, Any]:
    """Counts of one line, and sentences that say what they mean; of the first hook point where there are several."""
    first = series[0].evolution
    counts = Counter(first.lives.classes)
    known = first.lives.half_rise[np.isfinite(first.lives.half_rise)]
    axis = first.plan.axis
    median = axis.step_at(float(np.median(known))) if len(known) else None
    turned = _turned(first, config)
    summary: dict[str, Any] = {
        "n_latents": len(first.norms),
        "n_alive": int(first.alive.sum()),
        "strength": config.strength,
        "time": axis.name,
        "n_seeds": 1 + len(config.seeds),
        "classes": {name: counts[name] for name in CLASSES},
        "live": dict(zip(first.plan.names, first.population.live.tolist(), strict=True)),
        "median_half_rise_step": median,
        "turning": int(turned.sum()),
    }
    sentences = [
        sentence
        for each in series
        for sentence in _sentences(each, config, f"{each.evolution.plan.hook_point}: " if len(series) > 1 else "")
    ]
    return summary | {"sentences": [*sentences, _seed_sentence(series, config), _strength_sentence(config)]}


def _turned(evolution: SeriesEvolution, config: EvolutionConfig) -> np.ndarray:
    return (evolution.turning.place >= 0) & (np.nan_to_num(evolution.q_value, nan=1.0) <= config.turning_level)


def _sentences(followed: Followed, config: EvolutionConfig, prefix: str) -> list[str]:
    evolution = followed.evolution
    plan, lives = evolution.plan, evolution.lives
    alive = int(evolution.alive.sum())
    counts = Counter(lives.classes)
    told = ", ".join(f"{counts[name]} {name}" for name in CLASSES if name != "never" and counts[name])
    sentences = [
        f"{prefix}{alive:,} of {len(evolution.norms):,} latents fire on at least {config.min_active} held-out tokens; "
        f"the others have no life here (never). Of those: {told or 'none'}."
    ]
    unknown = int((evolution.alive & ~lives.live.any(axis=1)).sum())
    if config.strength == "prediction" and unknown:
        sentences.append(
            f"{prefix}Where another {unknown:,} fire, no snapshot predicts surely better than the bigram: nothing "
            "beyond pairs of tokens is seen to be done there, and they have no life either."
        )
    rising = lives.half_rise[np.isfinite(lives.half_rise)]
    if len(rising) and plan.axis.is_training_time:
        low, middle, high = (_moment(evolution, float(each)) for each in np.quantile(rising, (0.1, 0.5, 0.9)))
        sentences.append(
            f"{prefix}{len(rising):,} rise within the series: half of these have half-risen by {middle}, the middle "
            f"80 % between {low} and {high}."
        )
    if len(plan) > 2:
        sentences.append(prefix + _turning_sentence(evolution, config))
    return [*sentences, prefix + _dimension_sentence(evolution)]


def _turning_sentence(evolution: SeriesEvolution, config: EvolutionConfig) -> str:
    """How much directions turn where most, and whether single turns stand out from snapshots in random order."""
    names, bound = evolution.plan.names, random_cosine_bound(evolution.d_model)
    pairs = evolution.similarity.mean
    neighbours = np.diagonal(pairs, offset=1)
    if np.isnan(neighbours).all():
        return "No latent lives in two neighbouring snapshots, so nothing is known of how directions turn."
    place = int(np.nanargmin(neighbours))
    told = (
        f"Directions turn most between {names[place]} and {names[place + 1]}: mean cosine {neighbours[place]:.2f}, "
        f"where random directions lie within ±{bound:.2f}"
    )
    if not math.isnan(pairs[0, -1]):
        told += f"; {pairs[0, -1]:.2f} from {names[0]} to {names[-1]}"
    least = least_turning_p(len(names))
    if least > config.turning_level:
        return (
            f"{told}; {len(names)} snapshots are too few to say of single latents that they turn once: {least:.0%} of "
            "their orders explain a perfect turn as well."
        )
    turned = _turned(evolution, config)
    if not turned.any():
        return f"{told}; no latent turns more than its snapshots in random order do."
    at, most = Counter(evolution.turning.place[turned].tolist()).most_common(1)[0]
    cosine, explained = (
        float(np.nanmedian(each[turned])) for each in (evolution.turning.cosine, evolution.turning.explained)
    )
    return (
        f"{told}; {int(turned.sum()):,} of {int(evolution.alive.sum()):,} latents turn more than their snapshots in "
        f"random order do, {most:,} of these at {names[at]}; one turn explains {explained:.0%} of their scatter, with "
        f"a cosine of {cosine:.2f} between before and after (medians)."
    )


def _dimension_sentence(evolution: SeriesEvolution) -> str:
    shares = np.nansum(evolution.dimensionality, axis=0) / evolution.d_model
    random = evolution.random_dimensionality
    lowest, names = int(shares.argmin()), evolution.plan.names
    return (
        f"The latents use {shares[0]:.0%} of the dimensions at {names[0]}, {shares[-1]:.0%} at {names[-1]}, least at "
        f"{names[lowest]} ({shares[lowest]:.0%}); random directions of the same norms would use {random[0]:.0%} and "
        f"{random[-1]:.0%}."
    )


def _seed_sentence(series: Sequence[Followed], config: EvolutionConfig) -> str:
    if not config.seeds:
        return (
            "n_seeds = 1: a decoder norm has no sampling error, and from one seed no interval; name dictionaries "
            "trained with other seeds in analyses.evolution.seeds."
        )
    first = series[0]
    assert first.spread is not None, "seeds were named"
    found = int(((first.spread.n_matches > 0) & first.evolution.alive).sum())
    same, of = int(first.spread.same.sum()), int(first.spread.n_matches.sum())
    agreement = f", and {same / of:.0%} of the matches are of the same class" if of else ""
    return (
        f"{found:,} of {int(first.evolution.alive.sum()):,} latents have a match (cosine at least "
        f"{config.min_match:g}) in {len(config.seeds)} other seed{'s' * (len(config.seeds) > 1)}{agreement}."
    )


def _strength_sentence(config: EvolutionConfig) -> str:
    if config.strength == "scaling":
        return (
            "Lives are read off latent scaling: what each snapshot's own activations hold of the latent along its "
            "decoder there."
        )
    if config.strength == "prediction":
        return (
            "Lives are read off what each snapshot predicts, beyond the bigram, where the latent fires: when the model "
            "can do what is done there, whatever the decoders say."
        )
    return (
        "Lives are read off decoder norms: what the dictionary gives a latent in a snapshot, untested; "
        'strength = "scaling" or "prediction" asks the snapshots themselves.'
    )


def _moment(evolution: SeriesEvolution, log_time: float) -> str:
    """A place on the axis in words."""
    step = evolution.plan.axis.step_at(log_time)
    if step is not None:
        return f"step {step:,.0f}"
    return f"{evolution.plan.axis.tokens_at(log_time) or 0:,.0f} tokens"
