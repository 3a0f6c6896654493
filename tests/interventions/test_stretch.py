"""Linear stretches of every architecture against central differences of a model with pinned patterns and scales."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.errors import SnapshotError
from ontogeny.interventions.stretch import Stretch
from ontogeny.interventions.suffix import depth, read_with
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint
from snapshots.tiny_models import CONFIGS, build_model

START, END = HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.2")


def tokens_and_mask() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, -2:] = 0
    return torch.randint(3, 90, (2, 9)), mask


@contextmanager
def pinned(model: HookedModel, clean: Callable[[], Tensor], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Softmax gives what it gave on the clean run, in order of call; norms divide by what they divided by there."""
    softmax, known, at = functional.softmax, [], [0]
    row = model.architecture
    assert row is not None
    norms = [block.get_submodule(path) for block in model.blocks for path in row.norms]
    then: dict[nn.Module, Tensor] = {}

    def parts(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is divided, and by what."""
        eps = next((getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name)), 1e-5)
        inner = x - x.mean(-1, keepdim=True) if "LayerNorm" in type(norm).__name__ else x
        return inner, (inner.square().mean(-1, keepdim=True) + eps).sqrt()

    def note(norm: nn.Module, args: Any, output: Tensor) -> None:
        then[norm] = parts(norm, args[0])[1]

    def hold(norm: nn.Module, args: Any, output: Tensor) -> Tensor:
        # In its own words: the modules of several architectures compute in float32 whatever they are given.
        gain = getattr(norm, "weight", torch.ones(()))
        gain = 1 + gain if "Gemma" in type(norm).__name__ else gain
        bias = getattr(norm, "bias", None)
        return parts(norm, args[0])[0] / then[norm] * gain + (0 if bias is None else bias)

    def noting(*args: Any, **kwargs: Any) -> Tensor:
        known.append(softmax(*args, **kwargs))
        return known[-1]

    def replaying(*args: Any, **kwargs: Any) -> Tensor:
        at[0] += 1
        return known[(at[0] - 1) % len(known)]

    monkeypatch.setattr(functional, "softmax", noting)
    handles = [norm.register_forward_hook(note) for norm in norms]
    clean()
    for handle in handles:
        handle.remove()
    monkeypatch.setattr(functional, "softmax", replaying)
    handles = [norm.register_forward_hook(hold) for norm in norms]
    yield
    for handle in handles:
        handle.remove()
    monkeypatch.undo()


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_push_is_the_derivative_with_patterns_and_scales_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = build_model(name)
    model, (tokens, mask) = HookedModel(module), tokens_and_mask()
    with torch.no_grad():
        hidden = model.read(tokens, [START], mask)[START]
        movement = torch.randn_like(hidden)
        stretch = Stretch(model, tokens, mask, START, END, hidden)
        torch.testing.assert_close(stretch.output, model.read(tokens, [END], mask)[END], atol=1e-4, rtol=1e-4)
        pushed = stretch.push(movement)
        eager = HookedModel(module.double())
        module.set_attn_implementation("eager")

        def run(by: float) -> Tensor:
            return read_with(eager, tokens, mask, START, hidden.double() + by * movement.double(), END)

        unpinned = (run(1e-6) - run(-1e-6)) / 2e-6
        with pinned(eager, lambda: run(0.0), monkeypatch):
            expected = (run(1e-6) - run(-1e-6)) / 2e-6
    here = mask.bool()
    size = float(expected[here].abs().max())
    assert float((pushed - expected)[here].abs().max()) < 2e-4 * size
    assert float((unpinned - expected)[here].abs().max()) > 1e-2 * size, "holding them makes a difference"


def test_pushes_add_up_and_leave_the_model_as_it_was() -> None:
    model, (tokens, mask) = HookedModel(build_model("gpt_neox_sequential")), tokens_and_mask()
    with torch.no_grad():
        before = model.forward(tokens, mask).logits
        hidden = model.read(tokens, [START], mask)[START]
    stretch = Stretch(model, tokens, mask, START, END, hidden)
    first, second = torch.randn_like(hidden), torch.randn_like(hidden)
    torch.testing.assert_close(
        stretch.push(2 * first) + stretch.push(second), stretch.push(2 * first + second), atol=1e-4, rtol=1e-4
    )
    # What comes later does not move what came before.
    late = torch.zeros_like(hidden)
    late[:, 5] = 1.0
    assert float(stretch.push(late)[:, :5].abs().max()) == 0
    with torch.no_grad():
        assert torch.equal(model.forward(tokens, mask).logits, before)
    assert all(each.requires_grad for each in model.module.parameters())


def test_without_its_mlp_attention_is_linear_at_any_size() -> None:
    """Only the MLP bends: with its output at 0 the push of a long movement is what the pinned model does."""
    model, (tokens, _) = HookedModel(build_model("llama")), tokens_and_mask()
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.down_proj.weight.zero_()
        hidden = model.read(tokens, [START])[START]
        stretch = Stretch(model, tokens, None, START, END, hidden)
        moved = Stretch(model, tokens, None, START, END, hidden)
    movement = torch.randn_like(hidden) * 50
    torch.testing.assert_close(stretch.push(movement), 50 * moved.push(movement / 50), atol=1e-3, rtol=1e-4)


def test_places_inside_a_block_and_what_does_not_get_there() -> None:
    model, (tokens, _) = HookedModel(build_model("gpt_neox")), tokens_and_mask()
    inside, after = HookPoint.parse("attn_out.1"), HookPoint.parse("resid_post.1")
    with torch.no_grad():
        hidden = model.read(tokens, [inside])[inside]
    movement = torch.randn_like(hidden)
    # Residuals are parallel here: what attention adds goes straight through.
    torch.testing.assert_close(Stretch(model, tokens, None, inside, after, hidden).push(movement), movement)
    beside = Stretch(model, tokens, None, inside, HookPoint.parse("mlp_out.1"), hidden)
    assert float(beside.push(movement).abs().max()) == 0


def test_hook_points_have_an_order() -> None:
    names = ["embed", "attn_out.0", "mlp_out.0", "resid_post.0", "attn_out.1", "resid_post.1"]
    depths = [depth(HookPoint.parse(name)) for name in names]
    assert depths == sorted(depths) and len(set(depths)) == len(depths)
    assert depth(HookPoint.parse("resid_pre.1")) == depth(HookPoint.parse("resid_post.0"))


def test_an_attention_out_of_sight_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (tokens, _) = HookedModel(build_model("llama")), tokens_and_mask()
    with torch.no_grad():
        hidden = model.read(tokens, [START])[START]
    attention = model.blocks[1].self_attn
    monkeypatch.setattr(attention, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(SnapshotError, match=r'block 1 computes its pattern out of sight.*"eager"'):
        Stretch(model, tokens, None, START, END, hidden)
