"""Folded unembeddings of every architecture against the derivative of the model's own logits."""

import pytest
import torch
from torch import nn

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.unembedding import fold_unembedding, probe_norm
from snapshots.tiny_models import CONFIGS, VOCABULARY, WIDTH, build_model


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_effects_are_derivatives_where_the_scale_does_not_move(name: str) -> None:
    """Along a direction that leaves the norm's denominator alone, the linear effect is the derivative itself."""
    torch.manual_seed(0)
    model = HookedModel(build_model(name))
    row = model.architecture
    assert row is not None
    x = torch.randn(1, WIDTH) * 3
    _, centred = probe_norm(model.module.get_submodule(row.final_norm), WIDTH, model.device, model.dtype)
    base = x - x.mean() if centred else x
    direction = torch.randn(1, WIDTH)
    direction -= (direction @ base.T) / (base @ base.T) * base
    if centred:
        direction += 0.7  # the norm takes it away
    norm, head = (model.module.get_submodule(path) for path in (row.final_norm, row.unembedding))
    _, derivative = torch.autograd.functional.jvp(lambda value: head(norm(value)), x, direction)
    expected = derivative - derivative.mean()
    found = fold_unembedding(model, x).effects(direction)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_scale_is_the_mean_over_tokens_and_padding_is_left_out() -> None:
    torch.manual_seed(1)
    model = HookedModel(build_model("llama"))
    x = torch.randn(50, WIDTH) * torch.linspace(0.5, 4, 50)[:, None]
    folded = fold_unembedding(model, x, vocabulary=VOCABULARY - 7)
    assert folded.matrix.shape == (VOCABULARY - 7, WIDTH)
    assert folded.inverse_scale == pytest.approx(float((1 / x.square().mean(1).sqrt()).mean()), rel=1e-4)
    torch.testing.assert_close(folded.matrix.mean(0), torch.zeros(WIDTH), atol=1e-6, rtol=0)


@pytest.mark.parametrize("width", [8, 9])
def test_norms_are_read_off_what_they_do(width: int) -> None:
    cpu = torch.device("cpu")
    layer, rms = nn.LayerNorm(width), nn.RMSNorm(width)
    for norm in (layer, rms):
        nn.init.normal_(norm.weight)
    nn.init.normal_(layer.bias)
    for norm, centred in ((layer, True), (rms, False)):
        gain, found = probe_norm(norm, width, cpu, torch.float32)
        torch.testing.assert_close(gain, norm.weight.detach(), rtol=1e-4, atol=1e-5)
        assert found is centred
    with pytest.raises(SnapshotError, match="neither a LayerNorm nor an RMSNorm"):
        probe_norm(nn.Identity(), width, cpu, torch.float32)


def test_a_plain_module_has_no_unembedding() -> None:
    plain = HookedModel.wrap(nn.Sequential(nn.Linear(4, 4)), {"out": "0"}, d_model=4)
    with pytest.raises(SnapshotError, match="no unembedding"):
        fold_unembedding(plain, torch.zeros(1, 4))
