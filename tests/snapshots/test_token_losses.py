"""Losses made of ranges of ids against the model's own logits in float64."""

import pytest
import torch
from torch import Tensor, nn

from ontogeny.snapshots import token_losses
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.token_losses import compute_token_losses
from snapshots.tiny_models import CONFIGS, VOCABULARY, build_model


def rows_and_wanted() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    rows = torch.randint(0, VOCABULARY, (5, 12))
    wanted = torch.rand(5, 12) < 0.7
    rows[0, 1], rows[0, 2], wanted[0, 1:3] = 0, VOCABULARY - 1, True  # the first range's first, the last range's last
    wanted[:, 0] = False
    return rows, wanted


def expected_losses(model: HookedModel, rows: Tensor, wanted: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model.module(rows).logits[:, :-1].double()
    losses = -logits.log_softmax(-1).gather(2, rows[:, 1:, None])[..., 0]
    return losses[wanted[:, 1:]]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_losses_of_ranges_are_those_of_all_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_losses, "TOKENS_AT_A_TIME", 7)
    monkeypatch.setattr(token_losses, "IDS_AT_A_TIME", 10)  # the last range has seven
    torch.manual_seed(0)
    model = HookedModel(build_model(name))
    rows, wanted = rows_and_wanted()
    found = compute_token_losses(model, rows, wanted)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected_losses(model, rows, wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 300.0])
def test_a_bias_and_large_logits_are_kept(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_losses, "IDS_AT_A_TIME", 16)
    torch.manual_seed(1)
    module = build_model("llama")
    head = module.lm_head
    head.weight.data *= scale
    head.bias = nn.Parameter(torch.randn(VOCABULARY) * 3)
    rows, wanted = rows_and_wanted()
    found = compute_token_losses(HookedModel(module), rows, wanted)
    torch.testing.assert_close(found.double(), expected_losses(HookedModel(module), rows, wanted), rtol=1e-5, atol=1e-4)


def test_ids_that_cannot_come_do_not_spoil_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_losses, "IDS_AT_A_TIME", 8)
    module = build_model("llama")
    module.lm_head.bias = nn.Parameter(torch.zeros(VOCABULARY))
    module.lm_head.bias.data[16:33] = -torch.inf
    rows, wanted = rows_and_wanted()
    rows[(rows >= 16) & (rows < 33)] = 1
    found = compute_token_losses(HookedModel(module), rows, wanted)
    torch.testing.assert_close(found.double(), expected_losses(HookedModel(module), rows, wanted), rtol=1e-5, atol=1e-5)


class Doubled(nn.Linear):
    """An unembedding whose weight does not say all of what it does."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_an_unembedding_that_is_no_plain_linear_map_is_called() -> None:
    module = build_model("gpt_neox")
    head = Doubled(32, VOCABULARY, bias=False)
    head.weight = nn.Parameter(
        module.get_submodule("lm_head" if hasattr(module, "lm_head") else "embed_out").weight.clone()
    )
    module.set_output_embeddings(head)
    rows, wanted = rows_and_wanted()
    found = compute_token_losses(HookedModel(module), rows, wanted)
    torch.testing.assert_close(found.double(), expected_losses(HookedModel(module), rows, wanted), rtol=1e-5, atol=1e-5)


def test_bfloat16_models_are_summed_in_float32() -> None:
    torch.manual_seed(2)
    module = build_model("gpt_neox").bfloat16()
    rows, wanted = rows_and_wanted()
    found = compute_token_losses(HookedModel(module), rows, wanted)
    torch.testing.assert_close(found.double(), expected_losses(HookedModel(module), rows, wanted), rtol=2e-2, atol=5e-2)


def test_nothing_wanted_gives_nothing() -> None:
    rows, wanted = rows_and_wanted()
    assert compute_token_losses(HookedModel(build_model("gpt2")), rows, wanted & False).shape == (0,)
