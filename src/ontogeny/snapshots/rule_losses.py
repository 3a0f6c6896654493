"""Snapshots read the probes of a planted language: the loss on every scored token, and the truth that follows."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.snapshots.token_losses import compute_token_losses
from ontogeny.tokens.rules.probes import ProbeSet, build_probes
from ontogeny.tokens.rules.truth import RuleTruth, compute_rule_truth
from ontogeny.tokens.rules.world import RulesWorld


def measure_probe_losses(model: HookedModel, probes: ProbeSet, batch_rows: int = 256) -> Float[np.ndarray, "token"]:
    """−log P(token) in nats of one model on the scored tokens of the probes, in the order of `probes.scored`."""
    tokens = torch.from_numpy(np.asarray(probes.corpus.tokens, dtype=np.int64))
    scored = torch.from_numpy(probes.scored)
    parts = []
    for rows, wanted in zip(tokens.split(batch_rows), scored.split(batch_rows)):
        parts.append(compute_token_losses(model, rows, wanted).numpy())
    return np.concatenate(parts)


def measure_rule_truth(
    series: SnapshotSeries,
    stages: Sequence[RulesWorld],
    n_probes: int = 64,
    device: str = "cpu",
    probes: ProbeSet | None = None,
) -> RuleTruth:
    """When a family's snapshots learned and lost each rule of the world it was grown on (`world.build_stages`).

    The more snapshots the series has, the finer the steps are known: a family grown with `per_octave = 8` and a series
    of all its folders is the reference. Errors: SnapshotError if a snapshot has no step, or another vocabulary.
    """
    probes = build_probes(stages, n_probes) if probes is None else probes
    unknown = [snapshot.label for snapshot in series.snapshots if snapshot.step is None]
    if unknown:
        raise SnapshotError(f"snapshot {unknown[0]} has no step, so nothing can be said of when; name the steps.")
    losses = []
    for index in range(len(series)):
        model = series.open(index, device=device)
        if model.vocab_size != len(stages[0].words) + 1:
            raise SnapshotError(
                f"snapshot {series.labels[index]} knows {model.vocab_size} tokens and the planted language has "
                f"{len(stages[0].words) + 1}; give the rules that it was grown on."
            )
        losses.append(measure_probe_losses(model, probes))
    return compute_rule_truth(np.stack(losses), np.array(series.steps, dtype=np.int64), probes, stages)
