"""Windows round tokens: within row and document, with codes, gates and what each source says, against a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latents.small import N_LATENTS, NAMES, corpus, dictionary, store
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.latents.windows import PassPlaces, compute_evidence


@pytest.mark.parametrize(("before", "after"), [(3, 2), (0, 0), (20, 20)])
def test_windows_are_those_of_a_loop(tmp_path: Path, before: int, after: int) -> None:
    made, text, held_out = dictionary("topk", "per_source"), corpus(), store(tmp_path)
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    run_pass(made, held_out, {}, cache=writer)
    cache = writer.finish()
    dense = {source: cache.codes(0, cache.n_tokens).dense(source).numpy() for source in range(3)}
    union = cache.codes(0, cache.n_tokens).dense().numpy()
    tokens = np.arange(0, cache.n_tokens, 7)
    latents = (tokens * 5) % N_LATENTS
    places = PassPlaces.from_columns(cache.columns, text)
    windows = places.windows(tokens, before, after)
    block = cache.block(0, N_LATENTS)
    values = windows.codes(block, latents)
    spread = np.broadcast_to(latents[:, None], values.shape)
    gates = [block.gate_at(source, spread, windows.tokens, values) for source in range(3)]
    evidence = compute_evidence(made, held_out, windows, latents)
    norms = made.decoder_norms().detach()
    pass_token = {(int(r), int(p)): t for t, (r, p) in enumerate(zip(cache.columns.row, cache.columns.position))}
    for index, token in enumerate(tokens):
        row, column, latent = int(cache.columns.row[token]), int(cache.columns.position[token]), int(latents[index])
        columns = [
            c
            for c in range(max(0, column - before), min(text.context_length, column + after + 1))
            if text.document[row, c] == text.document[row, column]
        ]
        inside = windows.inside[index]
        assert windows.places[index][inside].tolist() == columns
        assert columns[windows.at[index]] == column
        assert windows.ids[index][inside].tolist() == text.tokens[row, columns].tolist()
        seen = [pass_token.get((row, c), -1) for c in columns]
        assert windows.tokens[index][inside].tolist() == seen
        assert values[index][inside].tolist() == [union[t, latent] if t >= 0 else 0 for t in seen]
        assert windows.at_marked(values)[index] == union[token, latent]
        for source in range(3):
            expected = [bool(t >= 0 and dense[source][t, latent] > 0) for t in seen]
            assert gates[source][index][inside].tolist() == expected
        with torch.no_grad():
            x = made.normalise(held_out.read(np.array([row]))[0])[columns].double()
            dots = torch.einsum("psd,sd->ps", x, made.W_enc[latent].double()) * norms[latent].double()
        np.testing.assert_allclose(evidence[index][:, inside].T, dots.numpy(), rtol=2e-5, atol=2e-5)


def test_a_source_that_is_not_read_has_no_evidence(tmp_path: Path) -> None:
    held_out, text = store(tmp_path), corpus()
    config = CrosscoderConfig.model_validate({"n_latents": N_LATENTS, "activation": {"kind": "topk", "k": 4}})
    made = Crosscoder(config, NAMES[:2], NAMES[1:], d_model=6).eval()
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    run_pass(made, held_out, {}, cache=writer)
    cache = writer.finish()
    windows = PassPlaces.from_columns(cache.columns, text).windows(np.array([3, 50]), 2, 2)
    evidence = compute_evidence(made, held_out, windows, np.array([1, 2]))
    assert np.isfinite(evidence[:, 0][windows.inside]).all() and np.isnan(evidence[:, 1]).all()


def test_evidence_is_the_same_whatever_windows_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, text, held_out = dictionary(), corpus(), store(tmp_path)
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    run_pass(made, held_out, {}, cache=writer)
    places = PassPlaces.from_columns(writer.finish().columns, text)
    windows, latents = places.windows(np.arange(40), 3, 3), np.arange(40) % N_LATENTS
    whole = compute_evidence(made, held_out, windows, latents)
    monkeypatch.setattr("ontogeny.latents.windows.TILE", 5)
    monkeypatch.setattr("ontogeny.latents.windows.READ_NUMBERS", 1)
    np.testing.assert_allclose(compute_evidence(made, held_out, windows, latents), whole, rtol=1e-5, atol=1e-6)
