"""Running a model from a hook point on."""

from pathlib import Path

import pytest
import torch

from interventions.tiny_prompts import tiny_pairs
from interventions.tiny_series import tiny_series
from ontogeny.interventions.prompts import clean_prompts
from ontogeny.interventions.suffix import run_to_last, run_with
from ontogeny.types import HookPoint


@pytest.mark.parametrize("name", ["resid_pre.0", "resid_post.0", "resid_post.1", "attn_out.1", "mlp_out.0"])
def test_the_last_position_alone_is_what_all_positions_give_there(tmp_path: Path, name: str) -> None:
    """Values and gradients, before the first block, between, after the last, and inside of one."""
    model, prompts, place = tiny_series(tmp_path).open(1), clean_prompts(tiny_pairs()), HookPoint.parse(name)
    read = model.read(prompts.tokens, [place])[place].detach()
    state = (read + 0.1 * torch.randn(read.shape, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
    rows = torch.arange(len(prompts))
    whole = run_with(model, prompts.tokens, prompts.attention, place, state)[rows, prompts.last]
    alone = run_to_last(model, prompts.tokens, prompts.attention, place, state, prompts.last)
    assert torch.allclose(alone, whole, atol=1e-5)
    gradients = [torch.autograd.grad(logits.square().sum(), state)[0] for logits in (whole, alone)]
    assert torch.allclose(*gradients, atol=1e-4)
