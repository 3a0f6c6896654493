"""Single tokens: what became of some of each kind, and which of them have alike curves."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analyses.loss_curves.config import LossCurvesConfig
from ontogeny.analyses.loss_curves.rows import number
from ontogeny.analyses.loss_curves.sums import Axis
from ontogeny.quanta.curves import correlate_curves, fit_token_slopes
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.emergence import NAMES, axis_to_step, emergence_axis, find_emergence, halfway
from ontogeny.tokens.token_texts import TokenTexts


def choose_listed(
    n_tokens: int, clustered: Int[np.ndarray, " token"] | None, config: LossCurvesConfig
) -> Int[np.ndarray, " listed"]:
    """The clustered tokens, or evenly spaced ones, at most `n_listed`."""
    known = np.arange(n_tokens) if clustered is None else clustered
    if len(known) <= config.n_listed:
        return known
    return (
        known[np.linspace(0, len(known) - 1, config.n_listed).round().astype(np.int64)]
        if config.n_listed
        else known[:0]
    )


def token_rows(
    axis: Axis,
    kind: str,
    tokens: Int[np.ndarray, " token"],
    documents: Documents,
    texts: TokenTexts,
    config: LossCurvesConfig,
) -> Iterator[dict[str, Any]]:
    """One row a token."""
    if not len(tokens):
        return
    losses = axis.at(tokens)
    known = axis.x_name != "parameters" and all(step is not None for step in axis.steps)
    along = np.log(axis.x) if axis.x_name == "parameters" else emergence_axis(axis.steps)
    threshold = halfway(losses) if config.emergence_loss is None else np.full(len(losses), config.emergence_loss)
    found = find_emergence(losses, along, threshold)
    at = axis_to_step(axis.steps, found.at) if known else np.full(len(tokens), np.nan)
    slopes = fit_token_slopes(losses[:, axis.sloped], axis.x[axis.sloped]) if len(axis.sloped) else None
    document, position = documents.locate(tokens)
    for row, index in enumerate(tokens.tolist()):
        text = documents.document(int(document[row]))
        place, first = int(position[row]), int(found.first[row])
        words = texts.of(text[max(0, place - config.before) : place + 1]).to_pylist()
        yield {
            "over": axis.name,
            "kind": kind,
            "index": index,
            "document": int(document[row]),
            "position": place,
            "token_id": int(text[place]),
            "token": words[-1],
            "before": "".join(words[:-1]),
            "loss_first": float(losses[row, 0]),
            "loss_last": float(losses[row, -1]),
            "emergence_step": number(at[row]),
            "emergence_low": float(axis.steps[first - 1] or 0) if known and first > 0 else None,
            "emergence_high": float(axis.steps[first] or 0) if known and first < losses.shape[1] else None,
            "censored": NAMES[int(found.censored[row])],
            "forgotten": bool(found.forgotten[row]),
            "relapses": int(found.relapses[row]),
            "slope": None if slopes is None else float(slopes.slope[row]),
            "slope_r2": None if slopes is None else float(slopes.r2[row]),
        }


def alike_rows(
    tokens: Int[np.ndarray, " token"], losses: Float[np.ndarray, "token snapshot"], count: int
) -> Iterator[dict[str, Any]]:
    """The most correlated of the tokens whose loss changes; none with fewer than three snapshots."""
    moved = losses.std(axis=1) > 1e-5
    tokens, losses = tokens[moved], losses[moved]
    if losses.shape[1] < 3 or len(tokens) < 2 or not count:
        return
    similarity = correlate_curves(losses)
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(count, len(tokens) - 1)]
    for row, others in enumerate(nearest):
        for other in others.tolist():
            yield {
                "index": int(tokens[row]),
                "other": int(tokens[other]),
                "correlation": float(similarity[row, other]),
                **dict(zip(("correlation_low", "correlation_high"), _fisher(similarity[row, other], losses.shape[1]))),
                "n": losses.shape[1],
            }


def _fisher(correlation: float, n: int) -> Sequence[float | None]:
    """tanh(artanh r ∓ 1.96 / √(n − 3))."""
    if n < 4:
        return (None, None)
    z = np.arctanh(np.clip(correlation, -1 + 1e-12, 1 - 1e-12))
    return [float(np.tanh(z + sign * 1.959964 / np.sqrt(n - 3))) for sign in (-1, 1)]
