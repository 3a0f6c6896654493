"""Losses by canonical index: published numbers, batches, resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ontogeny.errors import NonFiniteError
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.losses import measure_document_losses, measure_series_losses
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from paths import requires_shared
from quanta.golden_quanta import golden_case, golden_documents, golden_model
from snapshots.tiny_models import VOCABULARY, build_model


def some_documents() -> Documents:
    draw = np.random.default_rng(0)
    return Documents.of([draw.integers(0, VOCABULARY, size) for size in (5, 1, 0, 9, 2, 7)])


def test_losses_are_those_of_one_document_at_a_time() -> None:
    documents, model = some_documents(), HookedModel(build_model("gpt_neox"))
    expected = []
    for number in range(len(documents)):
        tokens = torch.from_numpy(documents.document(number))
        if len(tokens) >= 2:
            logits = model.module(tokens[None]).logits[0, :-1].double()
            expected.append(-logits.log_softmax(-1).gather(1, tokens[1:, None])[:, 0].detach().numpy())
    found = measure_document_losses(model, documents, batch_tokens=20)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)


class FakeSeries(SnapshotSeries):
    """Three snapshots of random weights that say when they are opened."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.broken = -1

    @property
    def labels(self) -> list[str]:
        return ["a", "b", "c"]

    def __len__(self) -> int:
        return 3

    def identity(self, index: int) -> str:
        return f"{index}" * 40

    def open(self, index: int, device: str = "cpu", dtype: str = "float32") -> HookedModel:
        self.opened.append(index)
        torch.manual_seed(index)
        model = build_model("gpt_neox")
        if index == self.broken:
            next(model.parameters()).data.fill_(torch.nan)
        return HookedModel(model)


def test_a_killed_run_goes_on_with_the_snapshot_it_was_at(tmp_path: Path) -> None:
    series = FakeSeries()
    series.broken = 1
    with pytest.raises(NonFiniteError, match="snapshot b has loss nan on the token of canonical index 0"):
        measure_series_losses(series, some_documents(), tmp_path)
    series.broken = -1
    matrix = measure_series_losses(series, some_documents(), tmp_path)
    assert series.opened == [0, 1, 1, 2]
    assert (
        measure_series_losses(series, some_documents(), tmp_path).labels == ("a", "b", "c") and len(series.opened) == 4
    )
    assert isinstance(matrix.values, np.memmap) and matrix.values.dtype == np.float32
    alone = measure_document_losses(series.open(2), some_documents())
    np.testing.assert_array_equal(matrix.values[:, 2], alone)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("losses.")] == []


@requires_shared
def test_the_published_losses() -> None:
    _, tensors = golden_case()
    found = measure_document_losses(golden_model(), golden_documents(tensors))
    np.testing.assert_allclose(found, tensors["losses"].numpy(), atol=1e-5)
