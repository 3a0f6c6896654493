"""Which rules a model knows, and since when: per-rule losses, progress and the step at which each was learned."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.tokens.rules.labels import Role


@dataclass(frozen=True)
class RuleLosses:
    """Losses on the determined tokens of every rule, in nats a token. NaN for a rule without such tokens.

    `mean`, `standard_error` [snapshot rule]; `bayes` [rule]: the least possible loss; `chance` [rule]: the loss of one
    who knows which kind of word comes, but not which (`bayes` + ln(size of the answer set)); `count` [rule]: tokens.
    """

    mean: np.ndarray
    standard_error: np.ndarray
    bayes: np.ndarray
    chance: np.ndarray
    count: np.ndarray

    @property
    def progress(self) -> np.ndarray:
        """q = clip((chance − loss) / (chance − bayes), 0, 1), [snapshot rule]; NaN where there is nothing to learn."""
        room = self.chance - self.bayes
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(room > 0, np.clip((self.chance - self.mean) / room, 0.0, 1.0), np.nan)


def compute_rule_losses(
    losses: Float[np.ndarray, "snapshot token"],
    rule: Int[np.ndarray, "token"],
    role: Int[np.ndarray, "token"],
    bayes_nll: Float[np.ndarray, "token"],
    n_answers: Int[np.ndarray, "rule"],
    episode: Int[np.ndarray, "token"] | None = None,
) -> RuleLosses:
    """Mean loss of each rule's determined tokens at each snapshot.

    `losses`: −log P(token) in nats, one row a snapshot; the other arrays label the same tokens. The role-aware chance
    level matters: in the first steps every loss falls because the model learns that, say, a digit comes here, and
    that is not the rule. `episode` groups tokens that are not independent; the standard error is over groups
    (clusters), over tokens without it, NaN where there are fewer than two.
    """
    n_rules = len(n_answers)
    chosen = np.flatnonzero((role == Role.DETERMINED) & np.isfinite(bayes_nll))
    group = chosen if episode is None else episode[chosen]
    mean = np.full((len(losses), n_rules), np.nan)
    error, bayes = mean.copy(), np.full(n_rules, np.nan)
    count = np.bincount(rule[chosen], minlength=n_rules)
    for number in np.flatnonzero(count):
        here = rule[chosen] == number
        values = losses[:, chosen[here]].astype(np.float64)
        mean[:, number] = values.mean(axis=1)
        bayes[number] = bayes_nll[chosen[here]].astype(np.float64).mean()
        error[:, number] = _clustered_error(values, group[here])
    return RuleLosses(mean, error, bayes, bayes + np.log(n_answers), count)


def _clustered_error(
    values: Float[np.ndarray, "snapshot token"], group: Int[np.ndarray, "token"]
) -> Float[np.ndarray, "snapshot"]:
    """Standard error of the mean when tokens of one group go together: sqrt(G/(G−1) Σ_g (Σ_i residual)²) / n."""
    _, group_of = np.unique(group, return_inverse=True)
    n_groups = int(group_of.max()) + 1
    if n_groups < 2:
        return np.full(len(values), np.nan)
    residual = values - values.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(group_of, weights=row, minlength=n_groups) for row in residual])
    return np.sqrt(n_groups / (n_groups - 1) * (sums**2).sum(axis=1)) / values.shape[1]


def compute_known_spans(
    progress: Float[np.ndarray, "snapshot rule"],
    steps: Int[np.ndarray, "snapshot"],
    threshold: float = 0.5,
    stays: int = 3,
) -> tuple[Float[np.ndarray, "rule"], Float[np.ndarray, "rule"]]:
    """The steps at which each rule was first learned and then lost: also what was known for a while counts.

    Learned: the first snapshot with progress ≥ threshold there and at the next `stays` ones; lost: the first one
    after it with progress < threshold there and at the next `stays` (at as many as there are). NaN: never.
    """
    known = np.nan_to_num(progress, nan=0.0) >= threshold
    spans = np.full((2, progress.shape[1]), np.nan)
    for rule, column in enumerate(known.T):
        rise = _first_lasting(column, stays)
        if rise is not None:
            spans[0, rule] = steps[rise]
            fall = _first_lasting(~column[rise:], stays)
            spans[1, rule] = np.nan if fall is None else steps[rise + fall]
    return spans[0], spans[1]


def _first_lasting(holds: Bool[np.ndarray, "snapshot"], stays: int) -> int | None:
    """The first place from which on it holds for 1 + `stays` snapshots, or for all that there are."""
    return next((place for place in range(len(holds)) if holds[place : place + 1 + stays].all()), None)
