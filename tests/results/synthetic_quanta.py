"""Quanta as an analysis would find them, with text that bites, and latents that go with them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ontogeny.analyses.quanta import columns
from ontogeny.analyses.quanta_latents import columns as latent_columns
from ontogeny.results import Result, Table, View, save_result
from ontogeny.workspace import Artifact, Workspace
from results.synthetic import HOSTILE

SNAPSHOTS = tuple(f"step{2**power}" for power in range(6))
CLUSTERED = (SNAPSHOTS[2], SNAPSHOTS[-1])


def make_quanta(sizes: tuple[int, ...] = (12, 7, 5), context: int = 30, steps: bool = True) -> Result:
    """A result of `quanta`: loss falls from 8 nats, quantum by quantum later."""
    rng = np.random.default_rng(0)
    n_tokens = sum(sizes)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    words = [*HOSTILE, *(f" word{number}" for number in range(40))]
    curves = np.array([[8.0 / (1 + place / (1 + quantum)) for place in range(len(SNAPSHOTS))] for quantum in labels])
    quanta, losses, tokens, neighbours = [], [], [], []
    for quantum, size in enumerate(sizes):
        quanta.append(
            {column.name: None for column in columns.QUANTA}
            | {
                "quantum": quantum,
                "top_token": words[quantum % len(words)],
                "top_share": 0.5,
                "n_tokens": size,
                "censored": "no",
            }
            | {"share": size / n_tokens, "n_documents": size, "n_distinct": 2, "forgotten": quantum == 2}
            | {"cohesion": 0.1 * (quantum + 1), "cohesion_low": 0.05, "cohesion_high": 0.9}
            | {"emergence_step": 20.0 - quantum, "emergence_low": 2.0, "emergence_high": 30.0}
            | {"stability": None if quantum == 0 else 0.5, "found_since": CLUSTERED[0]}
        )
        mean = curves[labels == quantum].mean(axis=0)
        losses += [
            {"quantum": quantum, "snapshot": name, "step": 2**place if steps else None, "tokens": None, "n": size}
            | {"loss": mean[place], "loss_se": 0.1, "loss_low": mean[place] - 0.2, "loss_high": mean[place] + 0.2}
            for place, name in enumerate(SNAPSHOTS)
        ]
        neighbours += [
            {"quantum": quantum, "other": other, "cosine": 0.2, "cosine_se": 0.01}
            for other in range(len(sizes))
            if other != quantum
        ]
    for index, quantum in enumerate(labels.tolist()):
        rank = index - int(np.flatnonzero(labels == quantum)[0])
        tokens.append(
            {"quantum": quantum, "rank": rank, "index": index * 50, "document": index, "position": 9, "token_id": 1}
            | {"token": words[index % len(HOSTILE)], "loss": 0.05, "centrality": 0.3, "membership": 0.8}
            | {"n_effective": 1.5, "before": [words[place] for place in rng.integers(0, len(words), context)]}
            | {"after": [f" after{rank}"]}
        )
    single = [
        {"index": index * 50, "snapshot": name, "loss": curves[index, place]}
        for index in range(n_tokens)
        for place, name in enumerate(SNAPSHOTS)
    ]
    matches = [
        {"from_snapshot": CLUSTERED[0], "to_snapshot": CLUSTERED[1], "quantum": quantum, "match": match, "q": 0.01}
        | {"jaccard": 0.6, "share": 0.7, "share_back": 0.8, "n_shared": 4, "event": event}
        for quantum, match, event in ((0, 1, "kept"), (1, 0, "merge"), (1, 2, "merge"), (2, None, "birth"))
    ]
    tables = {
        "quanta": (columns.QUANTA, quanta),
        "losses": (columns.LOSSES, losses),
        "tokens": (columns.TOKENS, tokens),
        "token_losses": (columns.TOKEN_LOSSES, single),
        "neighbours": (columns.NEIGHBOURS, neighbours),
        "matches": (columns.MATCHES, matches),
    }
    made = tuple(Table.from_rows(name, known, rows, columns.schema_of(known)) for name, (known, rows) in tables.items())
    view = View("line", "losses", "Mean loss of each quantum", x="snapshot", y=("loss",), group="quantum")
    return Result("quanta", made, (view,), {"n_quanta": len(sizes), "sentences": ["Some quanta."]})


def make_quanta_latents() -> Result:
    """A result of `quanta_latents`: one latent for quantum 0."""
    enriched = {column.name: 1 for column in latent_columns.ENRICHED} | {"quantum": 0, "latent": 7, "lift": 3.5}
    pair = {column.name: None for column in latent_columns.PAIRS} | {"quantum": 0, "latent": 7, "half_rise_step": 9.5}
    tables = (("enriched", latent_columns.ENRICHED, enriched), ("pairs", latent_columns.PAIRS, pair))
    made = tuple(Table.from_rows(name, known, [row], latent_columns.schema_of(known)) for name, known, row in tables)
    return Result("quanta_latents", made)


def fill_quanta(root: Path, results: Mapping[str, Result], dictionary: Artifact | None = None) -> Workspace:
    """These results of a recipe `skills`, without a dictionary unless one is given whose name they then bear."""
    workspace = Workspace(root)
    for kind, result in results.items():
        inputs = {"dictionary": dictionary.id} if dictionary is not None and kind != "quanta" else {}
        name = "skills" if dictionary is None else dictionary.names[0]
        draft = workspace.begin("results", {"analysis": kind}, inputs, name=name)
        save_result(result, draft.path)
        draft.finish(analysis=kind, summary=result.summary)
    return workspace
