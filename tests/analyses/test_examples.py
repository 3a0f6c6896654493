"""The tables of examples: what they hold of every latent, the same whatever the batches and blocks, through a kill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analyses.small_inputs import inputs, saved
from latents.small import N_LATENTS, NAMES, corpus
from ontogeny.analyses.examples import EXAMPLES, ExamplesConfig
from ontogeny.analyses.examples import make as making

CONFIG = ExamplesConfig(top=4, bins=3, per_bin=2, levels=3, controls=3, before=4, after=2)


def test_rows_say_what_the_cache_says(tmp_path: Path) -> None:
    given = inputs(tmp_path, "topk", "per_source")
    assert given.codes is not None
    text, cache = corpus(), given.codes
    result = saved(EXAMPLES.run(given, CONFIG), tmp_path / "result")
    examples, sources = result.table("examples").rows(), result.table("example_sources").rows()
    place = {(int(r), int(p)): t for t, (r, p) in enumerate(zip(cache.columns.row, cache.columns.position))}
    dense = cache.codes(0, cache.n_tokens).dense().numpy()
    for row in examples:
        token = place[row["row"], row["position"]]
        values = cache.latent(row["latent"])[1]
        assert row["value"] == dense[token, row["latent"]]
        assert (row["value"] == 0) == (row["kind"] == "control")
        assert (row["bin"] is None) == (row["kind"] in ("top", "control"))
        assert row["quantile"] == pytest.approx((values <= row["value"]).mean())
        assert row["of_max"] == pytest.approx(row["value"] / values.max())
        assert row["document"] == text.document[row["row"], row["position"]]
        start = row["position"] - row["at"]
        ids = text.tokens[row["row"], start : start + len(row["token_ids"])].tolist()
        assert row["token_ids"] == ids and row["tokens"] == [f"w{number}" for number in ids]
        seen = [place.get((row["row"], start + i)) for i in range(len(ids))]
        assert row["values"] == [None if t is None else dense[t, row["latent"]] for t in seen]
    places = {(row["latent"], row["row"], row["position"]) for row in examples}
    assert len(sources) == len(NAMES) * len(places)
    assert {(row["latent"], row["row"], row["position"], row["source"]) for row in sources} == {
        (*each, name) for each in places for name in NAMES
    }
    lengths = {(row["latent"], row["row"], row["position"]): len(row["values"]) for row in examples}
    for row in sources:
        expected = lengths[row["latent"], row["row"], row["position"]]
        assert len(row["gate"]) == len(row["evidence"]) == expected
        assert all(number is not None for number in row["evidence"])


def test_every_list_is_as_long_as_the_text_allows(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    assert given.codes is not None
    rows = saved(EXAMPLES.run(given, CONFIG), tmp_path / "result").table("examples").rows()
    assert {row["latent"] for row in rows} == set(np.flatnonzero(given.codes.counts).tolist()) and 0 not in rows
    for latent in np.flatnonzero(given.codes.counts > 60).tolist():
        mine = [row for row in rows if row["latent"] == latent]
        assert sum(row["kind"] == "top" for row in mine) == 4
        assert sum(row["kind"] == "bin" for row in mine) == 6
        assert [row["value"] for row in mine if row["kind"] == "top"] == sorted(
            (row["value"] for row in mine if row["kind"] == "top"), reverse=True
        )
        for kind, number in {(row["kind"], row["bin"]) for row in mine}:
            documents = [row["document"] for row in mine if (row["kind"], row["bin"]) == (kind, number)]
            assert len(set(documents)) == len(documents)
    assert [row["latent"] for row in rows] == sorted(row["latent"] for row in rows)


def test_batches_and_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choices(folder: str, batch_size: int, config: ExamplesConfig = CONFIG) -> list[tuple[object, ...]]:
        result = saved(EXAMPLES.run(inputs(tmp_path / folder, batch_size=batch_size), config), tmp_path / folder / "r")
        names = ("latent", "kind", "bin", "rank", "row", "position", "token_ids")
        return [tuple(row[name] for name in names) for row in result.table("examples").rows()]

    first = choices("a", 33)
    assert choices("b", 33, CONFIG.model_copy(update={"seed": 5})) != first
    monkeypatch.setattr(making, "BLOCK_PAIRS", 60)
    # Another batch size changes the last bits of codes, and so at most a draw at the edge of a bin: here none.
    assert choices("c", 7) == first


def test_a_killed_run_goes_on_behind_its_last_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "BLOCK_PAIRS", 100)
    given = inputs(tmp_path)
    whole = saved(EXAMPLES.run(replace(given, scratch=tmp_path / "whole"), CONFIG), tmp_path / "result")
    made, begun = making.compute_evidence, []

    def dying(*arguments: object) -> np.ndarray:
        begun.append(1)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "compute_evidence", dying)
    with pytest.raises(KeyboardInterrupt):
        EXAMPLES.run(replace(given, scratch=tmp_path / "killed"), CONFIG)
    again = saved(EXAMPLES.run(replace(given, scratch=tmp_path / "killed"), CONFIG), tmp_path / "again")
    assert given.codes is not None
    assert len(begun) == len(list(given.codes.iter_blocks(100))) + 1, "only the block that was cut off is done twice"
    assert not list((tmp_path / "killed").iterdir()), "what is in the tables is not kept beside them"
    for name in ("examples", "example_sources"):
        assert whole.table(name).rows() == again.table(name).rows()


def test_kinds_can_be_left_out(tmp_path: Path) -> None:
    config = ExamplesConfig(top=2, bins=0, levels=0, controls=0)
    rows = saved(EXAMPLES.run(inputs(tmp_path), config), tmp_path / "result").table("examples").rows()
    assert {row["kind"] for row in rows} == {"top"}
    assert max(row["latent"] for row in rows) < N_LATENTS
