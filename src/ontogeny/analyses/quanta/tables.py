"""Rows of the tables of quanta."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.quanta.config import QuantaReportConfig
from ontogeny.analyses.quanta.curves import QuantaCurves
from ontogeny.analyses.quanta.sample import QuantaSample
from ontogeny.latents.clusters import percentile_interval
from ontogeny.quanta.clustering import compute_cohesion
from ontogeny.quanta.cohesion import bootstrap_cohesion, compute_centrality, find_neighbours
from ontogeny.quanta.lineage import Link, trace_clusters
from ontogeny.quanta.membership import Membership
from ontogeny.quanta.stability import Stability
from ontogeny.tokens.token_texts import TokenTexts


def number(value: Any) -> float | None:
    """A number of a table: null where it is not defined."""
    return float(value) if np.isfinite(value) else None


def quantum_rows(
    sample: QuantaSample,
    curves: QuantaCurves,
    links: list[list[Link]],
    stability: Stability | None,
    texts: TokenTexts,
    predicted: Int[np.ndarray, " token"],
    level: float,
) -> Iterator[dict[str, Any]]:
    """One row a quantum."""
    cohesion = compute_cohesion(sample.similarity, sample.labels)
    low, high = percentile_interval(bootstrap_cohesion(sample.similarity, sample.labels, sample.weights), level)
    since = _found_since(sample, links)
    for quantum in range(sample.n_quanta):
        members = sample.members(quantum)
        alone = sample.n_documents(quantum) < 2
        ids, counts = np.unique(predicted[members], return_counts=True)
        yield {
            "quantum": quantum,
            "n_tokens": len(members),
            "share": len(members) / len(sample.labels),
            "n_documents": sample.n_documents(quantum),
            "cohesion": number(cohesion[quantum]),
            "cohesion_low": None if alone else number(low[quantum]),
            "cohesion_high": None if alone else number(high[quantum]),
            **curves.emergence[quantum],
            "loss_first": float(curves.mean[quantum, 0]),
            "loss_last": float(curves.mean[quantum, -1]),
            "stability": None if stability is None else number(stability.jaccard[quantum]),
            "stability_se": None if stability is None else number(stability.se[quantum]),
            "stability_chance": None if stability is None else number(stability.chance[quantum]),
            "found_since": since[quantum],
            "top_token": texts.of(ids[[counts.argmax()]])[0].as_py(),
            "top_share": float(counts.max() / len(members)),
            "n_distinct": len(ids),
        }


def _found_since(sample: QuantaSample, links: list[list[Link]]) -> list[str]:
    """The snapshot from which on a chain of links leads to each quantum."""
    labels, places = sample.measured.labels, sample.clusters.snapshots
    since = []
    for quantum in range(sample.n_quanta):
        place, here = len(places) - 1, {quantum}
        while place > 0:
            before = {each.earlier for each in links[place - 1] if each.later in here and each.earlier is not None}
            if not before:
                break
            place, here = place - 1, before
        since.append(labels[places[place]])
    return since


def token_rows(
    inputs: AnalysisInputs,
    sample: QuantaSample,
    config: QuantaReportConfig,
    texts: TokenTexts,
    membership: Membership | None,
) -> Iterator[dict[str, Any]]:
    """The tokens of every quantum, the most central first."""
    assert inputs.losses is not None
    documents = inputs.losses.documents
    document, position = documents.locate(sample.clusters.tokens)
    central = compute_centrality(sample.similarity, sample.labels)
    spread = None if membership is None else membership.n_effective
    for quantum in range(sample.n_quanta):
        members = sample.members(quantum)
        order = members[np.argsort(-np.nan_to_num(central[members]), kind="stable")]
        for rank, place in enumerate(order[: config.samples].tolist()):
            text = documents.document(int(document[place]))
            at = int(position[place])
            words = texts.of(text[max(0, at - config.before) : at + config.after + 1]).to_pylist()
            here = min(at, config.before)
            yield {
                "quantum": quantum,
                "rank": rank,
                "index": int(sample.clusters.tokens[place]),
                "document": int(document[place]),
                "position": at,
                "token_id": int(text[at]),
                "token": words[here],
                "loss": float(sample.losses[place, -1]),
                "centrality": number(central[place]),
                "membership": None if membership is None else float(membership.shares[place, quantum]),
                "n_effective": None if spread is None else float(spread[place]),
                "before": words[:here],
                "after": words[here + 1 :],
            }


def loss_rows(sample: QuantaSample, curves: QuantaCurves) -> Iterator[dict[str, Any]]:
    """One row a quantum and snapshot."""
    for quantum in range(sample.n_quanta):
        for place, snapshot in enumerate(sample.measured.snapshots):
            yield {
                "quantum": quantum,
                "snapshot": snapshot.label,
                "step": snapshot.step,
                "tokens": snapshot.tokens,
                "loss": float(curves.mean[quantum, place]),
                "loss_se": number(curves.se[quantum, place]),
                "loss_low": number(curves.low[quantum, place]),
                "loss_high": number(curves.high[quantum, place]),
                "n": len(sample.members(quantum)),
            }


def token_losses(sample: QuantaSample) -> pa.Table:
    """Every token's loss in every snapshot, by token."""
    n_tokens, n_snapshots = sample.losses.shape
    return pa.table(
        {
            "index": np.repeat(sample.clusters.tokens, n_snapshots),
            "snapshot": list(sample.measured.labels) * n_tokens,
            "loss": sample.losses.reshape(-1),
        }
    )


def neighbour_rows(sample: QuantaSample, count: int) -> Iterator[dict[str, Any]]:
    """The nearest quanta of each."""
    found = find_neighbours(sample.similarity, sample.labels, sample.weights, count)
    for quantum in range(sample.n_quanta):
        for other, cosine, se in zip(found.other[quantum], found.cosine[quantum], found.se[quantum], strict=True):
            yield {"quantum": quantum, "other": int(other), "cosine": float(cosine), "cosine_se": number(se)}


def trace_all(sample: QuantaSample) -> list[list[Link]]:
    """The links from each snapshot clustered to the next."""
    labels = [sample.clusters.labels[place] for place in sample.clusters.snapshots]
    return [trace_clusters(earlier, later) for earlier, later in itertools.pairwise(labels)]


def match_rows(sample: QuantaSample, links: list[list[Link]]) -> Iterator[dict[str, Any]]:
    """One row a link, birth or death."""
    names = [sample.measured.labels[place] for place in sample.clusters.snapshots]
    for earlier, later, found in zip(names, names[1:], links, strict=False):
        for each in found:
            yield {
                "from_snapshot": earlier,
                "to_snapshot": later,
                "quantum": each.later,
                "match": each.earlier,
                "jaccard": each.jaccard,
                "share": each.share_of_earlier,
                "share_back": each.share_of_later,
                "n_shared": each.shared,
                "q": each.q,
                "event": each.event,
            }


def label_table(sample: QuantaSample) -> pa.Table:
    """The cluster of every token at every snapshot clustered."""
    places = sample.clusters.snapshots
    return pa.table(
        {
            "index": np.tile(sample.clusters.tokens, len(places)),
            "snapshot": np.repeat([sample.measured.labels[place] for place in places], len(sample.labels)).tolist(),
            "cluster": np.concatenate([sample.clusters.labels[place] for place in places]),
        }
    )
