"""Losses by canonical index: published numbers, batches, resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ontogeny.errors import NonFiniteError
from ontogeny.quanta import losses
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
    assert isinstance(matrix[:, 2], np.memmap) and matrix[:, 2].dtype == np.float32
    alone = measure_document_losses(series.open(2), some_documents())
    np.testing.assert_array_equal(matrix[:, 2], alone)
    assert {path.name for path in tmp_path.glob("*/*")} == {"losses.safetensors"}


def test_the_matrix_is_a_view_of_its_columns(tmp_path: Path) -> None:
    matrix = measure_series_losses(FakeSeries(), some_documents(), tmp_path)
    chosen = np.array([3, 17, 4])
    assert matrix.shape == (19, 3) and len(matrix) == 19
    np.testing.assert_array_equal(matrix[chosen][:, 1], matrix[chosen, 1])
    np.testing.assert_array_equal(matrix[2:5], np.stack([matrix[2:5, at] for at in range(3)], axis=1))


def test_a_killed_snapshot_goes_on_with_the_part_it_was_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "PART_TOKENS", 8)
    model, documents = HookedModel(build_model("gpt_neox")), some_documents()
    seen: list[int] = []

    def stop(done: int) -> None:
        seen.append(done)
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        losses.measure_snapshot_losses(lambda: model, documents, tmp_path, "a", on_part=stop)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert seen == [4, 12] and kept == ["part.0.3.safetensors", "part.3.4.safetensors"]
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    opened: list[str] = []

    def open_model() -> HookedModel:
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
        opened.append("model")
        return model

    file = losses.measure_snapshot_losses(open_model, documents, tmp_path, "a")
    found = losses.open_losses([file], ["a"])[:, 0]
    assert opened == ["model"] and [path.name for path in tmp_path.iterdir()] == [file.name]
    np.testing.assert_allclose(found, measure_document_losses(model, documents), atol=1e-6)
    losses.measure_snapshot_losses(lambda: pytest.fail("nothing is missing"), documents, tmp_path, "a")


@requires_shared
def test_the_published_losses() -> None:
    _, tensors = golden_case()
    found = measure_document_losses(golden_model(), golden_documents(tensors))
    np.testing.assert_allclose(found, tensors["losses"].numpy(), atol=1e-5)
