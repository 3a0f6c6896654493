"""Dense codes give the gradients of plain autograd, whatever is asked of them, and leave nothing behind."""

import gc
import weakref

import pytest
import torch
from torch import Tensor

from ontogeny.dictionaries import ledger
from ontogeny.dictionaries.dense import DenseTable, jump_table, plain_table, relu_table
from ontogeny.dictionaries.elementwise import jump_gate

WINDOW = 0.4
KINDS = ("relu", "whole", "per_source", "plain")


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_FEWEST", 5)
    monkeypatch.setattr(ledger, "_MOST", 5)


def leaves() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (13, 6), "W_enc": (9, 6), "b_enc": (9,), "threshold": (9,), "weight": (9, 2, 4), "scale": (9,)}
    made = {name: torch.randn(*shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    made |= {name: made[name].abs() for name in ("threshold", "scale")}
    return {name: tensor.requires_grad_() for name, tensor in made.items()}


NORMS = (torch.linspace(0.5, 2.0, 9, dtype=torch.float64), torch.linspace(3.0, 0.2, 9, dtype=torch.float64))


def make(kind: str, of: dict[str, Tensor]) -> DenseTable:
    encoder = of["x"], of["W_enc"], of["b_enc"]
    if kind == "relu":
        return relu_table(*encoder)
    if kind == "plain":
        return plain_table(*encoder, (of["x"] @ of["W_enc"].T + of["b_enc"]).detach())
    norms = NORMS[:1] if kind == "whole" else NORMS
    return jump_table(*encoder, of["threshold"], norms, WINDOW, whole=kind == "whole")


def plain(kind: str, of: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The pre-activations and the values that each gate lets through."""
    pre = of["x"] @ of["W_enc"].T + of["b_enc"]
    if kind == "relu":
        return pre, [pre.relu()]
    if kind == "plain":
        return pre, [pre]
    norms = NORMS[:1] if kind == "whole" else NORMS
    return pre, [jump_gate(pre, of["threshold"], norm, WINDOW) for norm in norms]


def losses(kind: str, of: dict[str, Tensor]) -> dict[str, Tensor]:
    table = make(kind, of)
    found = {"values": table.values.square().sum()}
    if kind != "plain":
        gates = range(len(NORMS) if kind == "per_source" else 1)
        found["times"] = table.times(of["weight"]).pow(3).sum()
        found["means"] = sum((table.means(gate).square().sum() for gate in gates), torch.zeros(()))
        found["tanh"] = sum((table.tanh_means(gate, of["scale"]).square().sum() for gate in gates), torch.zeros(()))
    if kind != "relu":
        found["shortfall"] = table.shortfall_means(of["threshold"]).square().sum()
    return found


def plain_losses(kind: str, of: dict[str, Tensor]) -> dict[str, Tensor]:
    pre, gated = plain(kind, of)
    per_source = gated if kind == "per_source" else gated * 2
    product = torch.stack([part @ of["weight"][:, source] for source, part in enumerate(per_source)], 1)
    return {
        "values": (pre if kind == "per_source" else gated[0]).square().sum(),
        "times": product.pow(3).sum(),
        "means": sum((part.mean(0).square().sum() for part in gated), torch.zeros(())),
        "tanh": sum(((part * of["scale"]).tanh().mean(0).square().sum() for part in gated), torch.zeros(())),
        "shortfall": torch.relu(of["threshold"] - pre).mean(0).square().sum(),
    }


def gradients(loss: Tensor, of: dict[str, Tensor]) -> tuple[Tensor, ...]:
    found = torch.autograd.grad(loss, list(of.values()), retain_graph=True, allow_unused=True)
    return tuple(
        torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(found, of.values(), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_use_and_their_sum_have_the_gradients_of_autograd(kind: str) -> None:
    of = leaves()
    ours, theirs = losses(kind, of), plain_losses(kind, of)
    for name, loss in ours.items():
        torch.testing.assert_close(loss, theirs[name], msg=f"{kind} {name}")
        for found, wanted in zip(gradients(loss, of), gradients(theirs[name], of), strict=True):
            torch.testing.assert_close(found, wanted, msg=lambda text, n=name: f"{kind} {n}: {text}")
    total, wanted_total = sum(ours.values()), sum(theirs[name] for name in ours)
    for found, wanted in zip(gradients(total, of), gradients(wanted_total, of), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_was_walked_in_part_adds_nothing_later(kind: str) -> None:
    of = leaves()
    ours, theirs = losses(kind, of), plain_losses(kind, of)
    if "times" in ours:
        torch.autograd.grad(ours["times"], of["weight"], retain_graph=True)
    found = gradients(ours["values"], of)
    for one, other in zip(found, gradients(theirs["values"], of), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_goes_with_its_last_name(kind: str) -> None:
    of = leaves()
    table = make(kind, of)
    watched = weakref.ref(table.values)
    gc.disable()
    try:
        (table.values.sum() if kind == "plain" else table.times(of["weight"]).sum()).backward()
        del table
        assert watched() is None
    finally:
        gc.enable()
