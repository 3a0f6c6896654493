"""In which snapshots does a latent live, and what does it fire on? The short answer that the demo prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import Field

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.config import Config
from ontogeny.latents.trajectories import LifeThresholds, compute_lives, count_population, rank_by_birth
from ontogeny.results import Column, Result, Table, View
from ontogeny.types import source_names


class LifetimesConfig(Config):
    """Lifetimes of latents by decoder norm, with the tokens they fire on."""

    live_share: float = Field(0.5, gt=0, le=1)
    """A latent is live in a source where its decoder norm is at least this share of its largest over the sources."""
    extremes: int = Field(10, ge=1)
    """How many of the latest and of the earliest latents to show with their contexts."""
    contexts: int = Field(3, ge=1)
    """Contexts a latent is shown with: its strongest tokens, at most one a document."""
    context_tokens: int = Field(6, ge=0)
    """Tokens of context before the strongest one (and half as many after it)."""
    min_tokens: int = Field(10, ge=1)
    """Held-out tokens a latent must fire on to be ranked among the latest or earliest."""
    max_tokens: int = Field(131_072, ge=1)
    """Held-out tokens to look at."""
    batch_size: int = Field(2_048, ge=1)
    """Tokens encoded at a time."""


@dataclass(frozen=True)
class Firings:
    """Every pair (token, latent) that is on, over the tokens looked at. All arrays are [pair] but `n_tokens`."""

    n_tokens: int
    latent: np.ndarray
    value: np.ndarray
    row: np.ndarray
    position: np.ndarray
    document: np.ndarray


def run(inputs: AnalysisInputs, config: LifetimesConfig) -> Result:
    """Count the live latents of every source and show the latest and the earliest with their contexts."""
    norms = inputs.dictionary.decoder_norms().detach().float().cpu().numpy()
    names = list(inputs.dictionary.sources_out)
    lives = compute_lives(norms, np.arange(len(names), dtype=np.float64), LifeThresholds(live_share=config.live_share))
    live = lives.live
    firings = _firings(inputs, config)
    fired = np.bincount(firings.latent, minlength=len(norms))
    ranked = [int(latent) for latent in rank_by_birth(lives) if fired[latent] >= config.min_tokens]
    extremes = {"latest": ranked[::-1][: config.extremes], "earliest": ranked[: config.extremes]}
    seen = live & (fired > 0)[:, None]
    tables = (
        _live_table(seen, inputs, names),
        _latent_table(norms, live, fired, names, firings),
        _extreme_table(extremes, live, fired, names, inputs, firings, config),
    )
    summary = {
        "n_latents": len(norms),
        "n_seen": int((fired > 0).sum()),
        "n_tokens": firings.n_tokens,
        "live_share": config.live_share,
        "live": {name: int(count) for name, count in zip(names, seen.sum(axis=0), strict=True)},
        "live_in_all": int(seen.all(axis=1).sum()),
        "live_in_one": int((seen.sum(axis=1) == 1).sum()),
    }
    views = (
        View("line", "live", "Latents by snapshot", x="source", y=("live", "born", "gone")),
        View("histogram", "latents", "In how many sources latents live", x="n_live"),
        View("tokens", "extremes", "The latest and the earliest latents", x="context", group="which", value="value"),
    )
    return Result("lifetimes", tables, views, summary)


def _firings(inputs: AnalysisInputs, config: LifetimesConfig) -> Firings:
    """One pass of encode over the held-out stream, bounded by `max_tokens`."""
    import torch

    from ontogeny.interventions.sources import select_sources, source_positions

    dictionary = inputs.dictionary.to(inputs.device).eval()
    reads = source_positions(inputs.held_out.sources, dictionary.sources_in)
    parts: list[tuple[np.ndarray, ...]] = []
    n_tokens = 0
    with torch.no_grad():
        for batch in inputs.held_out.iter_batches(config.batch_size, epochs=1):
            codes = dictionary.encode(select_sources(batch.x, reads).to(inputs.device)).sparse()
            token = codes.tokens.cpu().numpy()
            where = tuple(np.asarray(column)[token] for column in (batch.row, batch.position, batch.document))
            parts.append((codes.indices.cpu().numpy(), codes.values.float().cpu().numpy(), *where))
            n_tokens += codes.n_tokens
            if n_tokens >= config.max_tokens:
                break
    return Firings(n_tokens, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _live_table(seen: np.ndarray, inputs: AnalysisInputs, names: list[str]) -> Table:
    columns = (
        Column("source", "1", "the source's name"),
        Column("step", "steps", "training step of its snapshot, null where unknown"),
        Column("live", "1", "latents that fire and are live there"),
        Column("born", "1", "of these, live here for the first time"),
        Column("gone", "1", "latents live in the source before and not here"),
    )
    population = count_population(seen)
    known = inputs.held_out.sources
    steps = {name: source.snapshot.step for name, source in zip(source_names(known), known, strict=True)}
    rows = [
        {
            "source": name,
            "step": steps.get(name),
            "live": int(population.live[index]),
            "born": int(population.born[index]),
            "gone": int(population.gone[index]),
        }
        for index, name in enumerate(names)
    ]
    kinds = pa.schema([("source", pa.string()), *((name, pa.int64()) for name in ("step", "live", "born", "gone"))])
    return Table.from_rows("live", columns, rows, kinds)


def _latent_table(norms: np.ndarray, live: np.ndarray, fired: np.ndarray, names: list[str], firings: Firings) -> Table:
    columns = (
        Column("latent", "1", "index of the latent"),
        Column("first", "1", "first source it is live in, null where it lives nowhere"),
        Column("last", "1", "last source it is live in"),
        Column("n_live", "1", "sources it is live in"),
        Column("largest_norm", "1", "largest decoder norm over the sources, in normalised space"),
        Column("n_tokens", "tokens", "held-out tokens it fires on"),
        Column("density", "fraction", "share of held-out tokens it fires on"),
        Column("density_se", "fraction", "binomial standard error of the density, null where it never fires"),
        Column("max_value", "1", "largest code seen, null where it never fires"),
    )
    alive = np.asarray(live.any(axis=1))
    first = live.argmax(axis=1)
    last = live.shape[1] - 1 - live[:, ::-1].argmax(axis=1)
    density = fired / max(firings.n_tokens, 1)
    largest = np.full(len(norms), np.nan)
    np.fmax.at(largest, firings.latent, firings.value)
    # That a latent was never seen to fire is no proof that it never does: no error of 0.
    error = np.sqrt(density * (1 - density) / max(firings.n_tokens, 1))
    data = pa.table(
        {
            "latent": np.arange(len(norms)),
            "first": [names[first[i]] if alive[i] else None for i in range(len(norms))],
            "last": [names[last[i]] if alive[i] else None for i in range(len(norms))],
            "n_live": live.sum(axis=1),
            "largest_norm": norms.max(axis=1).astype(np.float64),
            "n_tokens": fired,
            "density": density,
            "density_se": pa.array(error, mask=fired == 0),
            "max_value": pa.array(largest, from_pandas=True),
        }
    )
    return Table("latents", columns, data, sorted_by=("latent",))


def _extreme_table(
    extremes: dict[str, list[int]],
    live: np.ndarray,
    fired: np.ndarray,
    names: list[str],
    inputs: AnalysisInputs,
    firings: Firings,
    config: LifetimesConfig,
) -> Table:
    columns = (
        Column("which", "1", "latest or earliest"),
        Column("rank", "1", "0 is the most extreme"),
        Column("latent", "1", "index of the latent"),
        Column("first", "1", "first source it is live in"),
        Column("n_live", "1", "sources it is live in"),
        Column("n_tokens", "tokens", "held-out tokens it fires on"),
        Column("value", "1", "its code on the marked token"),
        Column("before", "1", "text before the marked token"),
        Column("token", "1", "the marked token, as text"),
        Column("after", "1", "text after the marked token"),
        Column("context", "1", "the three together, the token in «»"),
    )
    rows = []
    for which, latents in extremes.items():
        for rank, latent in enumerate(latents):
            shown = {
                "which": which,
                "rank": rank,
                "latent": int(latent),
                "first": names[int(live[latent].argmax())],
                "n_live": int(live[latent].sum()),
                "n_tokens": int(fired[latent]),
            }
            for pair in _strongest(firings, latent, config.contexts):
                before, token, after = _context(inputs, int(firings.row[pair]), int(firings.position[pair]), config)
                text = {"before": before, "token": token, "after": after, "context": f"{before}«{token}»{after}"}
                rows.append({**shown, "value": float(firings.value[pair]), **text})
    words = ("which", "first", "before", "token", "after", "context")
    kinds = {"value": pa.float64(), **{word: pa.string() for word in words}}
    schema = pa.schema([(column.name, kinds.get(column.name, pa.int64())) for column in columns])
    return Table.from_rows("extremes", columns, rows, schema)


def _strongest(firings: Firings, latent: int, count: int) -> list[int]:
    """The pairs of a latent's largest codes, one a document, best first."""
    pairs = np.flatnonzero(firings.latent == latent)
    chosen: dict[int, int] = {}
    for pair in pairs[np.argsort(-firings.value[pairs], kind="stable")]:
        chosen.setdefault(int(firings.document[pair]), int(pair))
        if len(chosen) == count:
            break
    return list(chosen.values())


def _context(inputs: AnalysisInputs, row: int, place: int, config: LifetimesConfig) -> tuple[str, str, str]:
    """Text before, at and after a place (column) of a corpus row, within its own document."""
    tokens, documents = inputs.corpus.tokens[row], inputs.corpus.document[row]
    start, stop = max(place - config.context_tokens, 0), place + 1 + config.context_tokens // 2

    def text(span: slice) -> str:
        kept = [int(token) for token, at in zip(tokens[span], documents[span], strict=True) if at == documents[place]]
        return str(inputs.series.tokenizer.decode(kept))

    return text(slice(start, place)), text(slice(place, place + 1)), text(slice(place + 1, stop))


LIFETIMES = Analysis("lifetimes", LifetimesConfig, frozenset({"dictionary", "held_out"}), run)
