"""What enters and leaves modules in one forward, kept so that gradients at their outputs can be asked for."""

import contextlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """A module's input, detached, and its output in the graph."""

    entering: Tensor
    leaving: Tensor


@dataclass(frozen=True)
class Flow:
    """What went through a module in a batch of samples, and came back: what its parameters' gradients are made from."""

    batch: slice
    entering: Float[Tensor, "sample ..."]
    gradient: Float[Tensor, "sample ..."]
    """At what left it."""
    real: Bool[Tensor, "sample position"]
    """Positions that are no padding."""


@dataclass(frozen=True)
class AtEnds:
    """Modules that are run at each sample's last position alone, zeros leaving them elsewhere."""

    modules: Collection[nn.Module]
    ends: Int[Tensor, " sample"]


NOWHERE = AtEnds((), torch.zeros(0, dtype=torch.int64))


@contextlib.contextmanager
def tapped(modules: Iterable[nn.Module], samples: int, at_ends: AtEnds = NOWHERE) -> Iterator[dict[nn.Module, Tap]]:
    """Taps of the modules in the forward inside; an output shared by all samples (positions) is given to each.

    A module `at_ends` has a tap of one position a sample.
    """
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

    with contextlib.ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(keep).remove)
        for module in at_ends.modules:
            narrow = _Narrow(at_ends.ends)
            hooks.callback(module.register_forward_pre_hook(narrow.gather).remove)
            hooks.callback(module.register_forward_hook(narrow.scatter).remove)
        yield taps


class _Narrow:
    """Hooks that narrow one module's forward to last positions."""

    def __init__(self, ends: Int[Tensor, " sample"]) -> None:
        self.ends, self.sample, self.length = ends, torch.arange(len(ends), device=ends.device), 0

    def gather(self, module: nn.Module, args: tuple) -> tuple:
        self.length = args[0].shape[1]
        return (args[0][self.sample, self.ends][:, None], *args[1:])

    def scatter(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        wide = output.new_zeros(len(output), self.length, output.shape[-1])
        return wide.index_put((self.sample, self.ends), output[:, 0])


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
