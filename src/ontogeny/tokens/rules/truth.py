"""The truth about a family: what each planted rule met with, and at which step the models learned and lost it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ontogeny.tokens.rules.losses import RuleLosses, compute_known_spans, compute_rule_losses
from ontogeny.tokens.rules.plan import RulePlan
from ontogeny.tokens.rules.probes import ProbeSet, RuleVersion
from ontogeny.tokens.rules.world import RulesWorld


@dataclass(frozen=True)
class RuleTruth:
    """What a tool should find. `learned`, `lost` [version]: steps, NaN where that never was.

    `plan` is indexed by a version's `rule`; `losses` [snapshot version] are those of the probes at `steps`.
    """

    versions: tuple[RuleVersion, ...]
    plan: tuple[RulePlan, ...]
    steps: np.ndarray
    losses: RuleLosses
    learned: np.ndarray
    lost: np.ndarray

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a version: its plan, its truth, and its last loss with standard error (nats)."""
        rows = []
        for place, version in enumerate(self.versions):
            plan = self.plan[version.rule]
            rows.append(
                {
                    "rule": version.name,
                    "family": plan.family,
                    "fate": plan.fate.value,
                    "change_step": plan.step,
                    "learned_step": _step(self.learned[place]),
                    "lost_step": _step(self.lost[place]),
                    "last_loss": float(self.losses.mean[-1, place]),
                    "last_loss_se": float(self.losses.standard_error[-1, place]),
                    "bayes_loss": float(self.losses.bayes[place]),
                    "chance_loss": float(self.losses.chance[place]),
                    "last_progress": float(self.losses.progress[-1, place]),
                }
            )
        return rows


def _step(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


def compute_rule_truth(
    losses: Float[np.ndarray, "snapshot token"],
    steps: Int[np.ndarray, "snapshot"],
    probes: ProbeSet,
    stages: Sequence[RulesWorld],
    threshold: float = 0.5,
    stays: int = 3,
) -> RuleTruth:
    """Truth from the losses (nats) on the probes' scored tokens, in the order of `probes.scored`, at each snapshot.

    A version is learned at the first snapshot of `steps` with progress q ≥ threshold there and at the next `stays`;
    errors of losses are clustered by probe. On a grid of n snapshots an octave a step is known to a factor 2^(1/n).
    """
    row, column = np.nonzero(probes.scored)
    labels = probes.corpus.labels
    found = compute_rule_losses(
        losses,
        rule=probes.version[row],
        role=labels["role"][row, column],
        bayes_nll=labels["bayes_nll"][row, column],
        n_answers=probes.n_answers,
        episode=row,
    )
    learned, lost = compute_known_spans(found.progress, steps, threshold, stays)
    return RuleTruth(probes.versions, stages[0].plan, steps, found, learned, lost)
