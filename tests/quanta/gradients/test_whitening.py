"""Whitened products against explicit matrices in float64, and where Adam's second moment is found."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ontogeny.errors import AnalysisError
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.gradients.parameters import Part
from ontogeny.quanta.gradients.whitening import find_optimizer_state
from ontogeny.quanta.gram import compute_gram
from ontogeny.snapshots.hooks import HookedModel
from quanta.gradient_oracles import DOCUMENTS, TOKENS, cosines, published_parts, tiny_model, whole_gradients

DAMPING = 0.1


def gradients_of(model: HookedModel) -> dict[Part, Tensor]:
    """[token row width] of the published parameters."""
    parts = published_parts(model)
    found = whole_gradients(model, TOKENS, [getattr(part.module, part.name) for part in parts])
    return {part: torch.stack([part.oriented(row) for row in each]) for part, each in zip(parts, found)}


def whiten_by(moments: dict[str, Tensor], gradients: dict[Part, Tensor]) -> np.ndarray:
    rows = []
    for part, each in gradients.items():
        moment = moments[part.parameter]
        rows.append((each / (moment + DAMPING * moment.mean()).sqrt()).flatten(1))
    return cosines(torch.cat(rows, dim=1))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma2"])
def test_adam_without_a_state_is_the_mean_square_over_tokens(name: str) -> None:
    model = tiny_model(name)
    gradients = gradients_of(model)
    expected = whiten_by({part.parameter: each.square().mean(dim=0) for part, each in gradients.items()}, gradients)
    found = compute_gram(model, DOCUMENTS, TOKENS, GramConfig(whitening="adam", batch_tokens=20))
    np.testing.assert_allclose(found.similarity(), expected, atol=1e-9)


def test_adam_with_a_state(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    gradients = gradients_of(model)
    named = dict(model.module.named_parameters())
    moments = {name: torch.rand(each.shape) for name, each in named.items()}
    snapshot = tmp_path / "step3"
    assert find_optimizer_state(snapshot) is None
    (tmp_path / "checkpoint").mkdir()
    beside = tmp_path / "checkpoint" / "step3.safetensors"
    save_file({f"exp_avg_sq.{name}": each for name, each in moments.items()}, beside)
    assert find_optimizer_state(snapshot) == beside
    oriented = {part.parameter: part.oriented(moments[part.parameter]).double() for part in gradients}
    config = GramConfig(whitening="adam")
    found = compute_gram(model, DOCUMENTS, TOKENS, config, optimizer_state=beside)
    np.testing.assert_allclose(found.similarity(), whiten_by(oriented, gradients), atol=1e-7)
    snapshot.mkdir()
    save_file({"exp_avg_sq.transformer.ln_f.weight": torch.rand(32)}, snapshot / "optimizer.safetensors")
    with pytest.raises(AnalysisError, match=r"has nothing for transformer\.ln_f\.bias, of shape \(32,\)"):
        compute_gram(model, DOCUMENTS, TOKENS, config, optimizer_state=find_optimizer_state(snapshot))


def linear_traffic(model: HookedModel, modules: list[torch.nn.Module]) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """By module, every sample's a and b [position side] over the context alone."""
    entering: list[list[Tensor]] = [[] for _ in modules]
    gradients: list[list[Tensor]] = [[] for _ in modules]
    for document, place in zip(*DOCUMENTS.locate(TOKENS)):
        ids = torch.from_numpy(DOCUMENTS.document(int(document)))
        seen: dict[torch.nn.Module, tuple[Tensor, Tensor]] = {}

        def see(module: torch.nn.Module, args: tuple, out: Tensor, seen: dict = seen) -> None:
            seen[module] = (args[0][0], out)

        handles = [each.register_forward_hook(see) for each in modules]
        loss = -model(ids[None, :place]).logits[0][-1].log_softmax(-1)[ids[place]]
        for handle in handles:
            handle.remove()
        found = torch.autograd.grad(loss, [seen[module][1] for module in modules])
        for number, module in enumerate(modules):
            entering[number].append(seen[module][0].detach())
            gradients[number].append(found[number][0])
    return entering, gradients


def inverse_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix + DAMPING * matrix.diagonal().mean() * torch.eye(len(matrix)))
    return vectors @ torch.diag(values**-0.5) @ vectors.T


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_kronecker_factors(name: str) -> None:
    model = tiny_model(name)
    gradients = gradients_of(model)
    modules = list(dict.fromkeys(part.module for part in gradients if part.is_linear))
    at_ends = compute_gram(model, DOCUMENTS, TOKENS, GramConfig(whitening="kronecker", batch_tokens=20))
    roots = {}
    for module, inputs, outputs in zip(modules, *linear_traffic(model, modules)):
        a, b = torch.cat(inputs), torch.cat(outputs)
        # Where only last positions have a gradient, inputs are those of last positions.
        if all(not bool(each[:-1].any()) for each in outputs):
            a = torch.stack([each[-1] for each in inputs])
        roots[module] = inverse_root(a.T @ a / len(a)), inverse_root(b.T @ b / len(TOKENS))
    rows = []
    for part, each in gradients.items():
        if part.is_linear:
            inner, outer = roots[part.module]
            each = outer @ each @ inner if part.is_matrix else outer @ each
        else:
            moment = each.square().mean(dim=0)
            each = each / (moment + DAMPING * moment.mean()).sqrt()
        rows.append(each.flatten(1))
    np.testing.assert_allclose(at_ends.similarity(), cosines(torch.cat(rows, dim=1)), atol=1e-8)


def test_whitening_goes_with_the_other_settings() -> None:
    model = tiny_model("gpt_neox")
    for whitening, entries in itertools.product(("adam", "kronecker"), ("absolute", "sparse")):
        config = GramConfig.model_validate({"whitening": whitening, "entries": entries, "memory": 1e-4})
        roomy = compute_gram(model, DOCUMENTS, TOKENS, config.model_copy(update={"memory": 1.0}))
        np.testing.assert_allclose(
            compute_gram(model, DOCUMENTS, TOKENS, config).similarity(), roomy.similarity(), atol=1e-9
        )
