"""Broken series, made on purpose: identical, misplaced, jumping, missing, out of order."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.errors import SeriesMismatch, SnapshotError
from ontogeny.snapshots.audit import audit_series, compare_slices, missing_steps
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.series import open_series
from ontogeny.snapshots.spot_checks import read_spot_checks
from snapshots.tiny_models import build_model

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family whose weights walk away from their start, one random step per doubling."""
    root = tmp_path_factory.mktemp("walk")
    model = build_model("gpt_neox")
    for step in STEPS:
        model.save_pretrained(root / f"step{step}")
        walk(model)
    return root


def walk(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


@pytest.fixture
def family(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "walk"))


def audit(family: Path, deep: bool = True, **keys: object) -> list[tuple[tuple[str, ...], str]]:
    series = open_series(SeriesConfig(folders=f"{family}/step*", **keys))
    return [(finding.labels, finding.severity) for finding in audit_series(series, deep).findings]


def test_sound_family_has_no_findings(original: Path) -> None:
    series = open_series(SeriesConfig(folders=f"{original}/step*"))
    report = audit_series(series, deep=True)
    assert report.findings == ()
    assert report.ok
    assert "slices of the weights" in report.checked


def test_byte_identical_snapshots_are_found_cheaply(family: Path) -> None:
    shutil.copy(family / "step64" / "model.safetensors", family / "step0" / "model.safetensors")
    assert audit(family, deep=False) == [(("step0", "step64"), "error")]


def test_same_weights_in_another_file_are_found(family: Path) -> None:
    """Saved in shards: other bytes, the same numbers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(family / "step64")
    shutil.rmtree(family / "step2")
    model.save_pretrained(family / "step2", max_shard_size="20KB")
    assert audit(family, deep=False) == []
    assert (("step2", "step64"), "error") in audit(family)


def test_another_steps_weights_are_found(family: Path) -> None:
    """Nearly the final weights under an early name: not identical, but out of place."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(family / "step64")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.005 * torch.randn_like(parameter)
    model.save_pretrained(family / "step1")
    assert audit(family, deep=False) == []
    findings = audit(family)
    assert {labels[0] for labels, _ in findings} == {"step1"}
    assert any("step64" in labels for labels, _ in findings)


def test_norm_that_jumps_is_found(family: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = family / "step8" / "model.safetensors"
    save_file({name: 3 * tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    assert any(labels == ("step8",) for labels, _ in audit(family))


def test_out_of_order_and_missing_steps(original: Path, family: Path) -> None:
    assert (("step8", "step2"), "error") in audit(original, deep=False, steps=[8, 2, 4])
    assert missing_steps([0, 1, 2, 4, 1000, 2000, 3000, 4000, 6000, 7000]) == [5000]
    assert missing_steps([0, 1, 2, 4, 8, 16, 32]) == []
    assert missing_steps([0, 64, 128, 256, 512, 1000, 2000, 3000, 3512, 4024]) == []
    for step in (100, 200, 300, 500):
        shutil.copytree(family / f"step{STEPS[step // 100]}", family / f"step{step}")
    messages = [f.message for f in audit_series(open_series(SeriesConfig(folders=f"{family}/step*00"))).findings]
    assert messages == []


def test_nan_weights_are_an_error() -> None:
    slices = [{"w": np.array([1.0, value])} for value in (1.0, np.nan, 2.0)]
    (finding,) = compare_slices(["a", "b", "c"], slices)
    assert finding.labels == ("b",) and finding.severity == "error"


def test_slices_read_every_float_type(family: Path) -> None:
    reference = read_spot_checks(str(family / "step4"), None)
    assert len(reference) == 6
    for dtype, tolerance in ((torch.float16, 1e-3), (torch.bfloat16, 8e-3), (torch.float64, 0.0)):
        torch.manual_seed(0)
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(family / "step4")
        model.to(dtype).save_pretrained(family / "other")
        found = read_spot_checks(str(family / "other"), None)
        for name, values in reference.items():
            np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance)


def test_torn_file_is_named(family: Path) -> None:
    (family / "step4" / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(SnapshotError, match=r"step4: model\.safetensors is not a safetensors file"):
        audit(family)


@pytest.mark.parametrize("damage", ["half", "header"])
def test_file_with_a_plausible_length_is_read_to_its_end(family: Path, damage: str) -> None:
    path = family / "step4" / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "half" else data[:20] + b"\xff" * 20 + data[40:])
    with pytest.raises(SnapshotError, match=r"step4: model\.safetensors is not a safetensors file"):
        audit(family)


def test_snapshot_without_weights_hides_nothing_of_the_others(family: Path) -> None:
    (family / "step4" / "model.safetensors").unlink()
    assert audit(family, deep=False) == [(("step4",), "error")]
    nan = [{}, {"w": np.array([1.0, 2.0])}, {"w": np.array([1.0, 2.0])}]
    assert [finding.labels for finding in compare_slices(["a", "b", "c"], nan)] == [("b", "c")]


def test_another_width_is_a_mismatch(family: Path) -> None:
    build_model("gpt_neox", hidden_size=64).save_pretrained(family / "step4")
    with pytest.raises(SeriesMismatch, match="width"):
        audit(family)
