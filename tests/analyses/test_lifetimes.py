"""Lifetimes of latents over small inputs; the whole story is in test_pipeline.py."""

from pathlib import Path

import numpy as np

from analyses.small_inputs import inputs, saved
from ontogeny.analyses.lifetimes import LIFETIMES, LifetimesConfig


def test_a_latent_that_never_fires_has_no_error_and_no_largest_code(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    rows = saved(LIFETIMES.run(given, LifetimesConfig()), tmp_path / "result").table("latents").data.to_pylist()
    assert given.codes is not None
    counts = given.codes.counts
    assert [row["n_tokens"] for row in rows] == counts.tolist() and (counts == 0).any()
    for row in rows:
        _, values = given.codes.latent(row["latent"])
        assert (row["density_se"] is None) == (row["max_value"] is None) == (row["n_tokens"] == 0)
        if row["n_tokens"]:
            np.testing.assert_allclose(row["max_value"], values.max(), rtol=1e-6)
