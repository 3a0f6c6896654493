"""The sums behind the verdicts: by blocks of latents that fit in memory, the first on the shared pass."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.betas import Scaling, iter_scaling
from ontogeny.latents.pair import check_scales
from ontogeny.latents.passes import run_pass
from ontogeny.latents.scaling import Probes, ScalingAccumulator, ScalingSums, latent_blocks
from ontogeny.latents.together import Together

KEYS = ("latent", "probe", "source")
CONTROLS = ("random direction", "other latent")


def first_sums(inputs: AnalysisInputs, config: LatentScalingConfig) -> Accumulator:
    """What rides on the shared pass."""
    dictionary = inputs.dictionary
    probes = choose_probes(dictionary, config)
    riders: dict[str, Accumulator] = {"probes": ScalingAccumulator(dictionary, probes, _blocks(dictionary, config)[0])}
    if config.control_latents:
        latents = range(min(config.control_latents, len(_blocks(dictionary, config)[0])))
        peak = Probes.at_peak(dictionary) if config.probe == "all" else probes
        controls = Probes.random(dictionary, peak, config.seed) + Probes.of_neighbours(dictionary, peak)
        riders["controls"] = ScalingAccumulator(dictionary, peak + controls, latents)
    return Together(riders)


def iter_sums(inputs: AnalysisInputs, config: LatentScalingConfig) -> Iterator[ScalingSums]:
    """The sums of every block of latents in turn; those after the first go over the cached codes."""
    yield inputs.accumulated["probes"]
    assert inputs.codes is not None, "the codes are among the needs"
    probes = choose_probes(inputs.dictionary, config)
    for latents in _blocks(inputs.dictionary, config)[1:]:
        accumulator = ScalingAccumulator(inputs.dictionary, probes, latents)
        run_pass(
            inputs.dictionary,
            inputs.held_out,
            {"scaling": accumulator},
            max_tokens=inputs.codes.n_tokens,
            device=inputs.device,
            codes=inputs.codes,
        )
        yield accumulator.compute()


def choose_probes(dictionary: Crosscoder, config: LatentScalingConfig) -> Probes:
    """The probes that the config names.

    AnalysisError where it names no source, where there is only one, and where different scales are folded in.
    """
    names, n_latents = dictionary.sources_out, dictionary.n_latents
    if len(names) < 2:
        raise AnalysisError(
            f"latent_scaling compares sources, and this dictionary has one ({names[0]}); "
            "leave [analyses.latent_scaling] out, or give the series more snapshots."
        )
    check_scales(dictionary)
    if config.probe == "peak":
        return Probes.at_peak(dictionary)
    if config.probe == "all":
        return Probes.of_sources(dictionary, np.arange(len(names))[:, None].repeat(n_latents, axis=1))
    if config.probe not in names:
        raise AnalysisError(
            f"analyses.latent_scaling.probe = {config.probe!r} is no source of this dictionary; "
            f"take peak, all, or one of {', '.join(names)}."
        )
    return Probes.of_sources(dictionary, np.full((1, n_latents), names.index(config.probe)))


def _blocks(dictionary: Crosscoder, config: LatentScalingConfig) -> list[range]:
    n_probes = dictionary.n_sources if config.probe == "all" else 1
    return latent_blocks(dictionary.n_latents, dictionary.n_sources, n_probes, int(config.memory_gb * 1e9))


def iter_estimates(sums: ScalingSums, config: LatentScalingConfig) -> Iterator[pa.Table]:
    """What the sums say, some latents with all their probes at a time, by latent, probe and source."""
    along = [
        iter_scaling(
            sums,
            probe,
            threshold_error=config.absent_error,
            threshold_reconstruction=config.absent_reconstruction,
        )
        for probe in range(len(sums.probe_sources))
    ]
    for scalings in zip(*along, strict=True):
        table = pa.Table.from_batches([as_batch(each) for each in scalings])
        yield table if len(scalings) == 1 else table.sort_by([(key, "ascending") for key in KEYS])


def iter_control_estimates(sums: ScalingSums, config: LatentScalingConfig) -> Iterator[tuple[str, Scaling]]:
    """(control, its scaling): betas along the control's direction, in units of the true probe's in its own source."""
    for place, name in enumerate(CONTROLS, start=1):
        for scaling in iter_scaling(
            sums,
            place,
            reference=sums.probe_sources[0],
            reference_sums=(sums, 0),
            threshold_error=config.absent_error,
            threshold_reconstruction=config.absent_reconstruction,
        ):
            yield name, scaling


def as_batch(scaling: Scaling) -> pa.RecordBatch:
    """One row a (latent, source), by latent; sources and probes as places."""
    n_latents, n_sources = scaling.t_error.shape

    def per_latent(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, n_sources)

    columns: dict[str, np.ndarray] = {
        "latent": per_latent(np.arange(scaling.first, scaling.first + n_latents)),
        "source": np.tile(np.arange(n_sources), n_latents),
        "probe": per_latent(scaling.probe),
        "n_active": per_latent(scaling.n_active),
        "n_clusters": per_latent(scaling.n_clusters),
        "t_reference": per_latent(scaling.t_reference),
        "t_error": scaling.t_error.reshape(-1),
        "t_reconstruction": scaling.t_reconstruction.reshape(-1),
        "t_own": scaling.t_own.reshape(-1),
    }
    for kind in ("beta", "nu"):
        for target in ("activation", "activation_no_bias", "reconstruction", "error", "own"):
            ratio = getattr(scaling, f"{kind}_{target}")
            columns[f"{kind}_{target}"] = ratio.value.reshape(-1)
            columns[f"{kind}_{target}_se"] = ratio.se.reshape(-1)
    return pa.RecordBatch.from_pydict(columns)
