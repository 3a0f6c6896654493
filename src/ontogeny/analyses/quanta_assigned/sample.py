"""New tokens and the quanta they are put to, beside the same for landmarks that are held out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta_assigned.config import QuantaAssignedConfig
from ontogeny.errors import AnalysisError
from ontogeny.latents.clusters import renumber
from ontogeny.quanta.assignment import Assignment, assign_tokens
from ontogeny.quanta.landmarks import Bounds, HeldOut, Rule, hold_out, make_scores
from ontogeny.quanta.measured import MeasuredLosses, TokenClusters


@dataclass(frozen=True)
class AssignedTokens:
    """What was put where.

    `landmarks` [landmark], `landmark_documents`: places among the clustered tokens of those that count, by quantum
    (`found`, `held_out` number the quanta that are asked from 0: `asked` has their numbers); `n_landmarks` [quantum].
    `quantum` [token]: −1 where none; `documents` [token], as the corpus numbers them. `chance`: share of landmarks that
    come back when labels are shuffled among them.
    """

    place: int
    rule: Rule
    asked: Int[np.ndarray, " asked"]
    n_landmarks: Int[np.ndarray, " quantum"]
    landmark_documents: Int[np.ndarray, " landmark"]
    held_out: HeldOut
    chance: float
    bounds: Bounds
    found: Assignment
    quantum: Int[np.ndarray, " token"]
    documents: Int[np.ndarray, " token"]

    @property
    def n_quanta(self) -> int:
        """Quanta, with those that are not asked."""
        return len(self.n_landmarks)

    @property
    def nearest(self) -> Int[np.ndarray, " token"]:
        """The best quantum of every token."""
        return self.asked[self.found.labels]

    @property
    def kept(self) -> Bool[np.ndarray, " landmark"]:
        """Held-out landmarks that are assigned by the same bounds as tokens."""
        return self.bounds.passed(self.held_out.found)

    @classmethod
    def of(cls, inputs: AnalysisInputs, config: QuantaAssignedConfig) -> "AssignedTokens":
        """Hold landmarks out, take the bounds from that, and put the new tokens to the quanta."""
        clusters, losses = inputs.quanta, inputs.losses
        assert clusters is not None and losses is not None, "tokens are put to clusters by their gradients"
        if clusters.config.kernel != "gradients":
            raise AnalysisError(
                f"quanta.kernel = {clusters.config.kernel!r} and new tokens are compared by gradients; set it to "
                '"gradients", or leave out [analyses.quanta_assigned].'
            )
        place, tokens = choose_place(clusters, losses, config), choose_tokens(clusters, losses, config)
        labels = clusters.labels[place]
        counts = np.bincount(labels)
        asked = np.flatnonzero(counts >= config.min_landmarks)
        if len(asked) < 2:
            raise AnalysisError(
                f"{len(asked)} quanta have {config.min_landmarks} clustered tokens or more, where two are needed; "
                "lower analyses.quanta_assigned.min_landmarks or ask for fewer clusters."
            )
        landmarks = np.flatnonzero(np.isin(labels, asked))
        own, documents = renumber(labels[landmarks])[0], clusters.documents[landmarks]
        similarity = clusters.open_similarity(place)[np.ix_(landmarks, landmarks)]
        rule: Rule = config.rule or ("embedding" if clusters.config.method == "regularised" else "mean")
        mixed = np.random.default_rng(config.seed).permutation(own)
        back, shuffled = (
            hold_out(rule, similarity, each, documents, clusters.config, config.folds, config.seed)
            for each in (own, mixed)
        )
        bounds = back.fit_bounds(config.min_cosine, config.min_margin, config.keep, config.precision)
        found = assign_tokens(
            inputs.series.open(place, device=inputs.device),
            losses.documents.read_by(inputs.corpus, losses.own.labels[place]),
            tokens,
            clusters.tokens[landmarks],
            make_scores(rule, similarity, own, clusters.config),
            # A matrix [token landmark] of every group in float32: twice the tokens a chunk, and cosines good to 1e-6.
            clusters.config.gram.model_copy(update={"by_layer": False, "accumulate": "float32"}),
            inputs.scratch,
            config.chunk,
            clusters.optimizer_states.get(place),
        )
        quantum = np.where(bounds.passed(found), asked[found.labels], -1)
        where = losses.documents.locate(tokens)[0]
        chance = float(shuffled.right.mean())
        return cls(place, rule, asked, counts, documents, back, chance, bounds, found, quantum, where)


def choose_place(clusters: TokenClusters, losses: MeasuredLosses, config: QuantaAssignedConfig) -> int:
    """The place of the snapshot asked for; AnalysisError where tokens were not clustered there."""
    known = {losses.own.labels[place]: place for place in clusters.snapshots}
    if config.snapshot is None:
        return clusters.last
    if config.snapshot not in known:
        raise AnalysisError(
            f"analyses.quanta_assigned.snapshot = {config.snapshot!r}; tokens were clustered at {', '.join(known)}."
        )
    return known[config.snapshot]


def choose_tokens(
    clusters: TokenClusters, losses: MeasuredLosses, config: QuantaAssignedConfig
) -> Int[np.ndarray, " token"]:
    """Canonical indices, ascending, of the new tokens; AnalysisError if none is left."""
    chosen_at = clusters.config.chosen_at
    column = -1 if chosen_at is None else losses.own.labels.index(chosen_at)
    left = np.ones(losses.documents.n_predicted, dtype=bool)
    left[clusters.tokens] = False
    if config.below is not None:
        left &= np.asarray(losses.own.losses[:, column]) < config.below
    for name in config.leave_out:
        left &= ~losses.copies[name]
    tokens = np.flatnonzero(left)[:: config.every]
    if not len(tokens):
        raise AnalysisError(
            f"of {len(left)} predicted tokens none is left to assign beside the {len(clusters.tokens)} clustered ones; "
            "raise analyses.quanta_assigned.below, leave out fewer copies, or give more text."
        )
    if len(tokens) <= config.n_tokens:
        return tokens
    return tokens[np.linspace(0, len(tokens) - 1, config.n_tokens).round().astype(np.int64)]
