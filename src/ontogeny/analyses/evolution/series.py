"""Everything that is known of the latents along the series of one hook point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.evolution.strength import Strength
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.directions import (
    TurningPoints,
    compute_cosines,
    compute_dimensionality,
    compute_turning_points,
    iter_blocks,
    random_dimensionality,
)
from ontogeny.latents.many_tests import adjust_p
from ontogeny.latents.times import TimeAxis, compute_time_axis, series_by_hook_point
from ontogeny.latents.trajectories import Lives, Population, compute_lives, count_population
from ontogeny.types import Source, source_names


@dataclass(frozen=True)
class SeriesPlan:
    """One hook point's sources in order of training: their places among the dictionary's, names and times."""

    hook_point: str
    places: list[int]
    names: list[str]
    steps: list[int | None]
    tokens: list[int | None]
    axis: TimeAxis

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class SimilarityOfSources:
    """Cosines between a latent's decoders in two sources, over the latents live in both: sums by pair of sources."""

    n: Int[np.ndarray, "source source"]
    total: Float[np.ndarray, "source source"]
    squares: Float[np.ndarray, "source source"]

    @property
    def mean(self) -> Float[np.ndarray, "source source"]:
        """Mean cosine, NaN where no latent is live in both."""
        return np.divide(self.total, self.n, out=np.full(self.n.shape, np.nan), where=self.n > 0)

    @property
    def se(self) -> Float[np.ndarray, "source source"]:
        """Its standard error over latents, NaN below two of them."""
        spread = np.divide(self.squares, self.n, out=np.full(self.n.shape, np.nan), where=self.n > 1) - self.mean**2
        return np.sqrt(np.maximum(spread, 0) / np.where(self.n > 1, self.n - 1, np.nan))


@dataclass(frozen=True)
class SeriesEvolution:
    """The latents along one series. `norms` are decoder norms whatever lives are read off: `strength`, of its sources.

    `alive`: fires on enough tokens; the others have no life (class never), and no direction or dimension is reported.
    Tables over latents and sources are float32: a million latents in 32 sources take 128 MB each.
    `neighbour` [latent interval] and `to_last` [latent source] are cosines, `q_value` the turning points' adjusted p.
    """

    plan: SeriesPlan
    strength: Strength
    alive: Bool[np.ndarray, " latent"]
    norms: Float[np.ndarray, "latent source"]
    lives: Lives
    population: Population
    neighbour: Float[np.ndarray, "latent interval"]
    to_last: Float[np.ndarray, "latent source"]
    turning: TurningPoints
    q_value: Float[np.ndarray, " latent"]
    similarity: SimilarityOfSources
    dimensionality: Float[np.ndarray, "latent source"]
    random_dimensionality: Float[np.ndarray, " source"]
    d_model: int

    @property
    def n_active(self) -> Int[np.ndarray, " latent"]:
        """Held-out tokens that each latent fires on."""
        return self.strength.n_active

    @property
    def least_kept(self) -> Float[np.ndarray, " latent"]:
        """The least of what is kept over the sources that a latent lives in; NaN where that is not known."""
        if self.strength.kept is None:
            return np.full(len(self.norms), np.nan)
        least = np.where(self.lives.live, self.strength.kept, np.inf).min(axis=1)
        return np.where(np.isfinite(least), least, np.nan)

    @property
    def rotation(self) -> Float[np.ndarray, "latent interval"]:
        """Degrees between neighbouring sources."""
        return np.degrees(np.arccos(self.neighbour))


def plan_series(sources: Sequence[Source]) -> list[SeriesPlan]:
    """The series to follow, one a hook point; AnalysisError where no hook point was read in two snapshots."""
    names = source_names(sources)
    plans = []
    for hook_point, places in series_by_hook_point(sources).items():
        chosen = [sources[place].snapshot for place in places]
        steps, tokens = [each.step for each in chosen], [each.tokens for each in chosen]
        axis = compute_time_axis(steps, tokens)
        plans.append(SeriesPlan(hook_point, places, [names[place] for place in places], steps, tokens, axis))
    if max((len(plan) for plan in plans), default=0) < 2:
        raise AnalysisError(
            f"evolution follows latents along two snapshots or more, and this dictionary writes {', '.join(names)} "
            "only: train one over a series, or leave [analyses.evolution] out."
        )
    return [plan for plan in plans if len(plan) >= 2]


def compute_series(
    dictionary: Crosscoder,
    plan: SeriesPlan,
    strength: Strength,
    config: EvolutionConfig,
) -> SeriesEvolution:
    """Lives, directions and dimensionality along one series; `strength` is of all the dictionary's sources."""
    strength = strength.take(plan.places)
    alive = strength.n_active >= config.min_active
    norms = dictionary.decoder_norms().detach().float().cpu().numpy()[:, plan.places]
    lives = compute_lives(np.where(alive[:, None], strength.value, 0.0), plan.axis.log, config.thresholds)
    neighbours, lasts, turns, sums = [], [], [], np.zeros((3, len(plan), len(plan)))
    for block, cosines in iter_cosines(dictionary, plan):
        turning = compute_turning_points(cosines, norms[block], dictionary.d_out, config.permutations, config.seed)
        neighbours.append(np.diagonal(cosines, offset=1, axis1=1, axis2=2).astype(np.float32))
        lasts.append(cosines[:, :, -1].astype(np.float32))
        turns.append(turning)
        sums += _sum_cosines(cosines, lives.live[block])
    # What never fires was never pulled anywhere: its directions say nothing.
    neighbour, to_last = (np.where(alive[:, None], np.concatenate(each), np.nan) for each in (neighbours, lasts))
    turning = _join_turns(turns, alive)
    dimensionality, random = _dimensionality(dictionary, plan, norms, alive)
    return SeriesEvolution(
        plan=plan,
        strength=strength,
        alive=alive,
        norms=norms,
        lives=lives,
        population=count_population(lives.live),
        neighbour=neighbour,
        to_last=to_last,
        turning=turning,
        q_value=adjust_p(turning.p_value),
        similarity=SimilarityOfSources(sums[0].astype(np.int64), sums[1], sums[2]),
        dimensionality=dimensionality,
        random_dimensionality=random,
        d_model=dictionary.d_out,
    )


def _join_turns(turns: Sequence[TurningPoints], alive: Bool[np.ndarray, " latent"]) -> TurningPoints:
    """The turning points of all blocks; none for latents that are not alive."""
    joined = {field.name: np.concatenate([getattr(each, field.name) for each in turns]) for field in fields(turns[0])}
    place = np.where(alive, joined.pop("place"), -1)
    return TurningPoints(place, **{name: np.where(place >= 0, values, np.nan) for name, values in joined.items()})


def iter_cosines(
    dictionary: Crosscoder, plan: SeriesPlan
) -> Iterator[tuple[slice, Float[np.ndarray, "latent source source"]]]:
    """Blocks of latents with the cosines between their decoders in the plan's sources."""
    W_dec = dictionary.W_dec.detach()
    for block in iter_blocks(len(W_dec), len(plan) * max(dictionary.d_out, len(plan))):
        yield block, compute_cosines(W_dec[block][:, plan.places])


def _sum_cosines(
    cosines: Float[np.ndarray, "latent source source"], live: Bool[np.ndarray, "latent source"]
) -> Float[np.ndarray, "3 source source"]:
    """Count, sum and sum of squares over the latents live in both sources."""
    both = live[:, :, None] & live[:, None, :]
    kept = np.where(both, np.nan_to_num(cosines), 0.0)
    return np.stack([both.sum(axis=0), kept.sum(axis=0), np.square(kept).sum(axis=0)])


def _dimensionality(
    dictionary: Crosscoder,
    plan: SeriesPlan,
    norms: Float[np.ndarray, "latent source"],
    alive: Bool[np.ndarray, " latent"],
) -> tuple[Float[np.ndarray, "latent source"], Float[np.ndarray, " source"]]:
    """D of every latent among those alive, and the sum of D over d_model for random directions of the same norms."""
    W_dec = dictionary.W_dec.detach()
    found = np.stack(
        [compute_dimensionality(W_dec[:, place], alive).astype(np.float32) for place in plan.places], axis=1
    )
    drawn = [np.nansum(random_dimensionality(norms[alive, index], dictionary.d_out)) for index in range(len(plan))]
    return found, np.array(drawn) / dictionary.d_out
