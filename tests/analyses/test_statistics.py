"""The tables of the statistics: their columns, nulls for what is dead, and rows for every latent, source and group."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from analyses.small_inputs import inputs, saved
from latents.small import KINDS, N_LATENTS, NAMES
from ontogeny.analyses.statistics import STATISTICS, StatisticsConfig

COLUMNS = {
    "latents": "latent n_tokens n_active density density_se mean mean_se max q50 q90 q99",
    "latent_sources": "latent source n_active density density_se"
    " mean_contribution mean_se max_contribution q50 q90 q99",
    "groups": "latent group n_group_tokens n_active density density_se share share_se",
    "histogram": "latent bin lower upper count",
}


@pytest.mark.parametrize(("kind", "gate"), KINDS)
def test_every_latent_source_and_group_has_a_row(tmp_path: Path, kind: str, gate: str) -> None:
    given = inputs(tmp_path, kind, gate)
    assert given.codes is not None
    result = saved(STATISTICS.run(given, StatisticsConfig(histogram_bins=5)), tmp_path / "result")
    for name, columns in COLUMNS.items():
        assert [column.name for column in result.table(name).columns] == columns.split()
    latents = result.table("latents").rows()
    assert [row["latent"] for row in latents] == list(range(N_LATENTS))
    assert [row["n_active"] for row in latents] == given.codes.counts.tolist()
    sources = result.table("latent_sources").rows()
    assert [(row["latent"], row["source"]) for row in sources] == [(j, s) for j in range(N_LATENTS) for s in NAMES]
    if gate == "shared" or kind == "relu":  # a ReLU has one gate, at zero
        assert all(sources[3 * j + s]["n_active"] == latents[j]["n_active"] for j in range(N_LATENTS) for s in range(3))
    else:
        assert len({tuple(row["n_active"] for row in sources[s::3]) for s in range(3)}) == 3
    groups = result.table("groups").rows()
    assert len(groups) == N_LATENTS * len(result.summary["groups"])
    assert result.summary["dead"] == int((given.codes.counts == 0).sum()) > 0


def test_a_dead_latent_has_nulls_and_no_histogram(tmp_path: Path) -> None:
    result = saved(STATISTICS.run(inputs(tmp_path), StatisticsConfig()), tmp_path / "result")
    dead = result.table("latents").rows()[0]
    assert dead["n_active"] == 0 and dead["density"] == 0.0 and dead["n_tokens"] > 0
    assert all(dead[name] is None for name in ("density_se", "mean", "mean_se", "max", "q50", "q90", "q99"))
    source = result.table("latent_sources").rows()[0]
    assert source["mean_contribution"] is None and source["max_contribution"] is None
    group = result.table("groups").rows()[0]
    assert group["share"] is None and group["share_se"] is None
    histogram = result.table("histogram").rows()
    assert min(row["latent"] for row in histogram) > 0
    for path in (tmp_path / "result" / "tables").glob("*.parquet"):
        for name, column in zip(pq.read_table(path).column_names, pq.read_table(path).columns, strict=True):
            if str(column.type) == "double":
                assert not np.isnan(column.drop_null().to_numpy()).any(), f"{path.stem}.{name} holds NaN"
