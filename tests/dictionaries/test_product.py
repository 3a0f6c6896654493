"""The encoder's product against float64, whichever routine makes it."""

import pytest
import torch

from ontogeny.dictionaries import product
from ontogeny.dictionaries.product import multiply, multiply_into

SHAPES = [(1, 3, 5), (255, 16, 40), (256, 16, 40), (600, 33, 129), (0, 8, 8)]


@pytest.fixture(params=["fastest", "plain"])
def routine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both routines, also on a machine whose torch has only the plain one."""
    if request.param == "plain":
        monkeypatch.setattr(product, "_onednn_can", lambda x, W: False)
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_product_in_float64(routine: str, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    n_tokens, width, n_latents = shape
    x, W, b = (torch.randn(size, dtype=dtype) for size in ((n_tokens, width), (n_latents, width), (n_latents,)))
    exact = x.double() @ W.double().T + b.double()
    bound = (1e-5 if dtype == torch.float32 else 1e-13) * (1 + exact.abs().amax() if exact.numel() else 1)
    room = torch.full((n_tokens, n_latents), torch.nan, dtype=dtype)
    assert multiply_into(room, x, W, b) is room
    for result in (room, multiply(x, W, b)):
        assert result.dtype == dtype
        assert torch.all((result.double() - exact).abs() <= bound)


def test_equals_the_product_of_views(routine: str) -> None:
    x, W, b = torch.randn(300, 2, 9)[:, 0], torch.randn(11, 40).T, torch.randn(40)
    W = W[:, :9]
    assert torch.allclose(multiply(x, W, b), x @ W.T + b, atol=1e-5)
    every_second = torch.randn(80)[::2]
    assert torch.allclose(multiply(x, W, every_second), x @ W.T + every_second, atol=1e-5)


def test_one_source_of_several_takes_no_reference_routine() -> None:
    x, W = torch.randn(64, 64), torch.randn(1024, 3, 64)
    assert not product._onednn_can(x, W[:, 1])
    assert torch.allclose(multiply(x, W[:, 1]), x @ W[:, 1].T, atol=1e-4)


def test_the_same_bits_again(routine: str) -> None:
    x, W, b = torch.randn(700, 64), torch.randn(96, 64), torch.randn(96)
    assert torch.equal(multiply(x, W, b), multiply(x, W, b))


def test_autocast_has_its_say_unless_a_table_is_given(routine: str) -> None:
    x, W, b = torch.randn(8, 16), torch.randn(32, 16), torch.randn(32)
    with torch.autocast("cpu", torch.bfloat16):
        assert multiply(x, W, b).dtype == torch.bfloat16
        assert multiply_into(torch.empty(8, 32), x, W, b).dtype == torch.float32
