"""Rows that grow, with what was computed kept, against the whole forward, for every architecture."""

import pytest
import torch
from torch import Tensor

from ontogeny.snapshots.growing_rows import GrowingRows
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint
from snapshots.tiny_models import BLOCKS, CONFIGS, VOCABULARY, build_model

PARTS = (5, 1, 1, 3, 1)


def model_and_tokens(name: str) -> tuple[HookedModel, Tensor]:
    torch.manual_seed(0)
    model = HookedModel(build_model(name))
    return model, torch.randint(3, VOCABULARY - 1, (2, sum(PARTS)))


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_give_what_the_whole_gives(name: str) -> None:
    model, tokens = model_and_tokens(name)
    points = [HookPoint.parse(text) for text in ("resid_pre.1", "attn_out.1", "mlp_out.0", "resid_post.2")]
    with torch.no_grad():
        whole = model.forward(tokens, read=points)
    rows = GrowingRows(model, points)
    outputs = [rows.extend(part) for part in tokens.split(PARTS, dim=1)]
    torch.testing.assert_close(torch.cat([each.logits for each in outputs], 1), whole.logits, atol=2e-5, rtol=1e-4)
    for point in points:
        parts = torch.cat([each.activations[point] for each in outputs], 1)
        torch.testing.assert_close(parts, whole.activations[point], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("place", ["embed", "resid_pre.0", "attn_out.0", "resid_post.0", "resid_pre.2", "mlp_out.1"])
def test_a_stopped_forward_grows_too(name: str, place: str) -> None:
    model, tokens = model_and_tokens(name)
    point = HookPoint.parse(place)
    with torch.no_grad():
        whole = model.read(tokens, [point])[point]
    rows = GrowingRows(model, [point], logits=False)
    parts = torch.cat([rows.extend(part).activations[point] for part in tokens.split(PARTS, dim=1)], 1)
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("cached", [True, False])
def test_replaced_values_live_on(name: str, cached: bool) -> None:
    """Position p is moved by p + 1 times a direction: each exactly once, and later positions look back at the moved."""
    model, tokens = model_and_tokens(name)
    point = HookPoint("resid_post", BLOCKS - 2)
    direction = torch.randn(model.d_model)
    everywhere = direction * torch.arange(1, tokens.shape[1] + 1)[:, None]
    with torch.no_grad():
        whole = model.forward(tokens, replace={point: lambda value: value + everywhere}).logits
    done = 0

    def move(value: Tensor) -> Tensor:
        return value + everywhere[done : done + value.shape[1]]

    rows, logits = GrowingRows(model, replace={point: move}, cached=cached), []
    for part in tokens.split(PARTS, dim=1):
        logits.append(rows.extend(part).logits)
        done += part.shape[1]
    torch.testing.assert_close(torch.cat(logits, 1), whole, atol=2e-5, rtol=1e-4)
