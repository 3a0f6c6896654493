"""What enters and leaves modules in one forward, kept so that gradients at their outputs can be asked for."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """A module's input, detached, and its output in the graph."""

    entering: Tensor
    leaving: Tensor


@contextlib.contextmanager
def tapped(modules: Iterable[nn.Module], samples: int) -> Iterator[dict[nn.Module, Tap]]:
    """Taps of the modules in the forward inside; an output shared by all samples (positions) is given to each."""
    taps: dict[nn.Module, Tap] = {}

    def keep(module: nn.Module, args: tuple, output: Any) -> Any:
        entering, leaving = args[0].detach(), output
        if len(leaving) == 1 and samples > 1:
            entering, leaving = (each.expand(samples, *each.shape[1:]).clone() for each in (entering, leaving))
        if not leaving.requires_grad:
            leaving = leaving.detach().requires_grad_()
        assert module not in taps, f"{type(module).__name__} ran twice in one forward"
        taps[module] = Tap(entering, leaving)
        return leaving

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No gradients at parameters inside: only vectors between modules need them."""
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


def gradients_at(output: Tensor, places: list[Tensor], gradient: Tensor | None = None) -> list[Tensor]:
    """d(output · gradient)/d(place); zeros where a place has no part in it."""
    found = torch.autograd.grad(output, places, gradient, allow_unused=True)
    return [torch.zeros_like(place) if each is None else each for each, place in zip(found, places)]
