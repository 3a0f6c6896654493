"""Latents and quanta: a quantum made of one latent's tokens is found, with its times; what is left out is counted."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from analyses.small_inputs import inputs, saved
from latents.small import NAMES, WIDTH
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.quanta_latents import QUANTA_LATENTS
from ontogeny.analyses.quanta_latents.config import QuantaLatentsConfig
from ontogeny.analyses.quanta_latents.sample import locate_before
from ontogeny.errors import AnalysisError
from ontogeny.latents.passes import run_pass
from ontogeny.quanta.config import TokenChoice
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.losses import LossMatrix
from ontogeny.quanta.measured import MeasuredLosses, SizeLosses, TokenClusters
from ontogeny.quanta.sections_config import QuantaConfig
from ontogeny.results import Result
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import Snapshot

N_QUANTA, PLANTED = 5, 3


def text(n_rows: int = 80) -> Corpus:
    """Every row a document; the first token of each is not in the pass."""
    made = Corpus.from_tokens(np.random.default_rng(0).integers(1, 64, (n_rows, WIDTH)), exclude_first=1)
    made.held_out[:] = True
    return made


def with_quanta(folder: Path, few: bool = False) -> tuple[AnalysisInputs, int]:
    """Quantum 3 is where the rarest latent with twenty tokens is on at the token before; the others are drawn."""
    opened = inputs(folder, text=text())
    assert opened.codes is not None
    documents = Documents.of_corpus(opened.corpus)
    counts = opened.codes.counts
    latent = int(np.where(counts >= 20, counts, counts.max() + 1).argmin())
    on, _ = opened.codes.latent(latent)
    row, column = (np.asarray(getattr(opened.codes.columns, name))[on] for name in ("row", "position"))
    follows = column < WIDTH - 1
    planted = documents.starts[row[follows]] + column[follows]
    draw = np.random.default_rng(1)
    others = np.setdiff1d(np.arange(documents.n_predicted), planted)
    others = draw.choice(others, 200, replace=False)
    planted = planted[: 3 if few else None]
    tokens = np.concatenate([planted, others])
    labels = np.concatenate([np.full(len(planted), PLANTED), draw.choice([0, 1, 2, 4], 200)])
    order = np.argsort(tokens)
    tokens, labels = tokens[order], labels[order]
    snapshots = tuple(Snapshot(name, label=name, step=int(name.removeprefix("step"))) for name in (*NAMES, "step512"))
    columns = [np.full(documents.n_predicted, level, dtype=np.float32) for level in (4.0, 3.9, 0.5, 0.1)]
    own = SizeLosses("series", snapshots, LossMatrix(tuple(columns), tuple(s.label for s in snapshots)), 100)
    config = QuantaConfig(n_clusters=N_QUANTA, choice=TokenChoice(n_tokens=len(tokens)))
    document = documents.locate(tokens)[0]
    clusters = TokenClusters(config, tokens, document, (3,), {3: labels}, lambda place: np.eye(len(tokens)))
    return dataclasses.replace(opened, losses=MeasuredLosses(documents, (own,)), quanta=clusters), latent


def answer(opened: AnalysisInputs, folder: Path, strength: Literal["norm", "scaling"] = "norm") -> Result:
    config = QuantaLatentsConfig(draws=50, shuffles=99, strength=strength)
    assert QUANTA_LATENTS.ride is not None
    rider = QUANTA_LATENTS.ride(opened, config)
    run_pass(opened.dictionary, opened.held_out, {"rider": rider}, batch_size=33)
    ridden = dataclasses.replace(opened, accumulated=rider.compute())
    return saved(QUANTA_LATENTS.run(ridden, config), folder / f"result {strength}")


def test_the_planted_latent_is_found_and_dated(tmp_path: Path) -> None:
    opened, latent = with_quanta(tmp_path)
    result = answer(opened, tmp_path)
    first = next(row for row in result.table("enriched").rows() if row["quantum"] == PLANTED)
    assert (first["quantum"], first["latent"], first["rank"]) == (PLANTED, latent, 0)
    assert first["n_on"] == first["n_tokens"] and first["lift"] > 2 and first["q"] < 1e-6
    assert first["log_odds_low"] < first["log_odds"] < first["log_odds_high"]
    quanta = result.table("quanta").rows()
    assert quanta[PLANTED]["best_latent"] == latent
    # No token before a document's second one is in the pass.
    assert sum(row["n_held_out"] for row in quanta) < sum(row["n_tokens"] for row in quanta)
    # Half of the fall, 4 to 0.1, lies between steps 8 and 64.
    assert all(8 < row["emergence_step"] < 64 for row in quanta)
    assert result.summary["n_pairs_shuffled"] <= 1 and len(result.summary["sentences"]) == 3
    courses = [row for row in result.table("courses").rows() if row["latent"] == latent]
    assert [row["source"] for row in courses[:3]] == list(NAMES)
    assert [row["loss"] for row in courses[:3]] == pytest.approx([4.0, 3.9, 0.5], rel=1e-6)
    assert max(row["strength"] for row in courses) == 1.0
    by_scaling = answer(opened, tmp_path, "scaling").table("courses").rows()
    assert len(by_scaling) == len(result.table("courses").rows())
    assert [row["strength"] for row in by_scaling] != [row["strength"] for row in result.table("courses").rows()]
    assert {(row["latents"], row["event"]) for row in result.table("together").rows()} == {
        (which, event) for which in ("best", "all") for event in ("half_rise", "onset")
    }


def test_tokens_are_looked_up_at_the_token_before(tmp_path: Path) -> None:
    opened, _ = with_quanta(tmp_path)
    assert opened.quanta is not None and opened.losses is not None and opened.codes is not None
    found = locate_before(opened)
    document, position = opened.losses.documents.locate(opened.quanta.tokens)
    assert ((found == -1) == (position == 1)).all()
    columns = opened.codes.columns.take(found[found >= 0])
    assert np.array_equal(columns.row, document[found >= 0])
    assert np.array_equal(columns.position, position[found >= 0] - 1)


def test_too_few_held_out_tokens_are_an_error(tmp_path: Path) -> None:
    opened, _ = with_quanta(tmp_path, few=True)
    asked = answer(opened, tmp_path).table("quanta").rows()
    assert not asked[PLANTED]["asked"] and asked[PLANTED]["n_latents"] is None
    with pytest.raises(AnalysisError, match=r"of 203 clustered tokens are in the held-out text, and 0 quanta have 99"):
        QUANTA_LATENTS.run(opened, QuantaLatentsConfig(min_tokens=99))
