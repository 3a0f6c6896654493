"""Meaning on two tiny snapshots: logit effects by hand, spans by hand, missing values, going on after a kill."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from analyses.small_inputs import saved
from analyses.tiny_run import tiny_inputs
from interventions.tiny_series import HOOK_POINT
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.meaning import run
from ontogeny.analyses.meaning.complexity import compute_complexity
from ontogeny.analyses.meaning.config import MeaningConfig
from ontogeny.analyses.meaning.logits import read_final_residual
from ontogeny.errors import AnalysisError
from ontogeny.results import Result
from ontogeny.snapshots.unembedding import fold_unembedding
from ontogeny.types import HookPoint

CONFIG = MeaningConfig(top=3, scale_rows=2, min_active=4, span_latents=6, span_examples=2, max_span=8)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> AnalysisInputs:
    return tiny_inputs(tmp_path_factory.mktemp("meaning"))


@pytest.fixture(scope="module")
def result(inputs: AnalysisInputs, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return saved(run(inputs, CONFIG), tmp_path_factory.mktemp("result"))


def test_logit_effects_are_those_of_each_snapshot_by_hand(inputs: AnalysisInputs, result: Result) -> None:
    rows = result.table("logits").rows()
    made, codes = inputs.dictionary, inputs.codes
    assert codes is not None
    for place, name in enumerate(made.sources_out):
        model = inputs.series.open(place)
        residual = read_final_residual(model, inputs.corpus, inputs.corpus.rows("held_out")[:2], name)
        matrix = fold_unembedding(model, residual, len(inputs.series.tokenizer)).matrix
        for latent in (3, 11):
            mean = codes.latent(latent)[1].astype(np.float64).mean()
            effect = (matrix @ (made.W_dec[latent, place] / made.scale_out[place])).detach().double() * mean
            for side, largest in (("top", True), ("bottom", False)):
                values, ids = torch.topk(effect, 3, largest=largest)
                mine = [row for row in rows if (row["latent"], row["source"], row["side"]) == (latent, name, side)]
                assert [row["token_id"] for row in mine] == ids.tolist()
                assert [row["rank"] for row in mine] == [0, 1, 2]
                assert mine[0]["token"] == inputs.series.tokenizer.decode([int(ids[0])])
                np.testing.assert_allclose([row["effect"] for row in mine], values.numpy(), rtol=1e-4)
                assert all(row["effect_se"] >= 0 for row in mine)


def test_dead_latents_have_missing_values_and_no_effects(result: Result) -> None:
    dead = result.table("tokens").rows()[0]
    assert dead["n_active"] == 0
    assert all(dead[name] is None for name in dead if name not in ("latent", "n_active"))
    assert 0 not in {row["latent"] for row in result.table("logits").rows()}
    assert result.summary["dead"] >= 1


def test_no_table_holds_nan(result: Result) -> None:
    for table in result.tables:
        for row in table.rows():
            assert not any(isinstance(value, float) and np.isnan(value) for value in row.values()), row


@torch.no_grad()
def test_a_span_is_what_truncated_text_gives(inputs: AnalysisInputs, result: Result) -> None:
    """One latent's recovery, read again with plain forwards of one text at a time."""
    made, corpus, codes = inputs.dictionary, inputs.corpus, inputs.codes
    assert codes is not None
    models = [inputs.series.open(place) for place in range(2)]
    lead = inputs.series.tokenizer.eos_token_id

    def value(latent: int, tokens: np.ndarray) -> float:
        ids = torch.from_numpy(np.asarray(tokens, dtype=np.int64))[None]
        x = torch.stack([model.read(ids, [HOOK_POINT])[HOOK_POINT][0, -1] for model in models])[None]
        return float(made.encode(x).dense()[0, latent])

    measured = {row["latent"] for row in result.table("recovery").rows()}
    assert len(measured) == 6
    for latent in sorted(measured)[:3]:
        tokens, values = codes.latent(latent)
        order = tokens[np.argsort(-values, kind="stable")]
        _, first = np.unique(codes.columns.document[order], return_index=True)
        shares = []
        for token in order[np.sort(first)[:2]]:
            row, cell = int(codes.columns.row[token]), int(codes.columns.position[token])
            text = np.array(corpus.tokens[row, : cell + 1])
            whole = value(latent, text)
            begun = [] if lead is None else [lead]
            shares.append(
                [1.0 if n >= len(text) else value(latent, np.array([*begun, *text[-n:]])) / whole for n in (1, 2, 4, 8)]
            )
        found = [row["recovered"] for row in result.table("recovery").rows() if row["latent"] == latent]
        np.testing.assert_allclose(found, np.mean(shares, axis=0), atol=1e-4)


def test_what_was_asked_before_a_kill_is_not_asked_again(
    inputs: AnalysisInputs, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(inputs.series), "open", lambda *_, **__: pytest.fail("a model was opened again"))
    again = saved(run(inputs, CONFIG), tmp_path)
    for table in result.tables:
        assert again.table(table.name).rows() == table.rows()


def test_without_logits_and_spans_no_model_is_opened(
    inputs: AnalysisInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(inputs.series), "open", lambda *_, **__: pytest.fail("a model was opened"))
    fresh = dataclasses.replace(inputs, scratch=tmp_path)
    found = saved(run(fresh, MeaningConfig(top=0, span_latents=0)), tmp_path / "result")
    assert [table.name for table in found.tables] == ["tokens", "recovery"]
    assert all(row["span"] is None for row in found.table("tokens").rows())


def test_a_latent_that_is_not_there_is_refused(inputs: AnalysisInputs) -> None:
    with pytest.raises(AnalysisError, match="span_of names latent 99"):
        run(inputs, MeaningConfig(span_of=(99,)))


def test_complexity_has_its_ends_where_the_rubric_has_them() -> None:
    def one(entropy: float, mcc: float, span: float) -> float:
        arrays = [np.array([value]) for value in (entropy, 0.1, mcc, 0.1, span, np.nan)]
        return float(compute_complexity(*arrays, max_span=64).value[0])

    assert one(0.0, 1.0, 0.0) == 1.0
    assert one(6.0, 0.0, 6.0) == 5.0
    assert one(9.0, -0.1, 7.0) == 5.0
    assert one(3.0, 0.5, 3.0) == 3.0
    assert one(3.0, 0.5, np.nan) == 3.0
    assert np.isnan(one(np.nan, np.nan, 3.0))


def test_the_last_block_is_where_the_residual_stream_ends(inputs: AnalysisInputs) -> None:
    model = inputs.series.open(1)
    rows = inputs.corpus.rows("held_out")[:1]
    residual = read_final_residual(model, inputs.corpus, rows, "step8")
    tokens = torch.from_numpy(np.array(inputs.corpus.tokens[rows], dtype=np.int64))
    with torch.no_grad():
        logits = model.forward(tokens, read=[HookPoint("resid_post", 1)]).logits[0][inputs.corpus.keep[rows[0]]]
        torch.testing.assert_close(model.unembed(residual), logits, rtol=1e-4, atol=1e-4)
