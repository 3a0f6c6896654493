"""Losses of models on probes: against a plain forward, and the truth of a family that learns one fact."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.grow import grow_family
from ontogeny.snapshots.grow_config import FamilyConfig
from ontogeny.snapshots.rule_losses import measure_probe_losses, measure_rule_truth
from ontogeny.snapshots.series import open_series
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.rules.config import RulesConfig
from ontogeny.tokens.rules.probes import build_probes
from ontogeny.tokens.rules.world import build_stages

RULES = RulesConfig(
    facts=1, skip_trigrams=0, agreements=0, brackets=0, copies=0, modular_sums=0, parities=0, never=1, noise=False,
    fact_pairs=3, document_length=32, n_documents=64,
)  # fmt: skip


def test_a_family_that_learns_a_fact_and_a_control_that_it_cannot_know(tmp_path: Path) -> None:
    family = FamilyConfig(
        sources=[TextSourceConfig(kind="rules", rules=RULES)], n_layers=2, d_model=32, n_heads=2, context_length=32,
        steps=120, batch_size=16, per_octave=2, linear_every=1000, lr=1e-2, warmup=5,
    )  # fmt: skip
    assert family.snapshot_steps[:8] == [0, 1, 2, 3, 4, 6, 8, 11]
    grow_family(family, tmp_path)
    series = open_series(SeriesConfig(folders=str(tmp_path / "step*")))
    stages = build_stages(RULES)
    truth = measure_rule_truth(series, stages, n_probes=16)
    assert [version.name for version in truth.versions] == ["fact0", "never0"]
    assert 4 <= truth.learned[0] <= 120 and np.isnan(truth.learned[1]) and np.isnan(truth.lost).all()
    assert truth.losses.mean[-1, 0] < 0.2 < truth.losses.mean[0, 0]

    probes = build_probes(stages, 16)
    model = series.open(len(series) - 1)
    tokens = torch.from_numpy(probes.corpus.tokens.astype(np.int64))
    with torch.no_grad():
        logs = model.module(tokens).logits.log_softmax(-1)  # type: ignore[operator]
    row, column = np.nonzero(probes.scored)
    plain = -logs[row, column - 1, tokens[row, column]].numpy()
    np.testing.assert_allclose(measure_probe_losses(model, probes, batch_rows=7), plain, atol=1e-5)
    with pytest.raises(SnapshotError, match="give the rules that it was grown on"):
        measure_rule_truth(series, build_stages(RulesConfig()), n_probes=1)
