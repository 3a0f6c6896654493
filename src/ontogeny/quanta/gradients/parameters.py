"""A model's parameters in disjoint named groups, and the gradient of each from what enters and leaves its module."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from ontogeny.errors import AnalysisError, SnapshotError
from ontogeny.quanta.config import GROUPS, PUBLISHED
from ontogeny.snapshots.architectures import Architecture
from ontogeny.snapshots.hooks import HookedModel


@dataclass(frozen=True)
class Part:
    """One parameter tensor: `rows` entries of `width` numbers; `layer` None outside the blocks."""

    group: str
    layer: int | None
    module: nn.Module
    name: str
    path: str
    """The module's, in the model."""

    @property
    def parameter(self) -> str:
        """Its name in the model."""
        return f"{self.path}.{self.name}"

    def sum_name(self, by_layer: bool) -> str:
        """Of the sums that its gradient goes to: its group, or group@layer."""
        return f"{self.group}@{self.layer}" if by_layer and self.layer is not None else self.group

    @property
    def is_linear(self) -> bool:
        """Weight or bias of a linear map."""
        return _is_linear(self.module)

    @property
    def is_matrix(self) -> bool:
        """The weight of a linear map."""
        return self.name == "weight" and _is_linear(self.module)

    @property
    def rows(self) -> int:
        """Output features of a matrix, entries of a vector."""
        shape: torch.Size = getattr(self.module, self.name).shape
        return int(shape[-1] if _is_transposed(self.module) else shape[0])

    @property
    def width(self) -> int:
        """Input features of a matrix, 1 of a vector."""
        return int(getattr(self.module, self.name).numel()) // self.rows

    def oriented(self, like: Tensor) -> Float[Tensor, "row width"]:
        """A tensor of the parameter's shape as [row width]."""
        return (like.T if self.is_matrix and _is_transposed(self.module) else like).reshape(self.rows, self.width)

    def gradient(
        self,
        entering: Float[Tensor, "sample ..."],
        gradient: Float[Tensor, "sample ..."],
        start: int,
        stop: int,
        out: Float[Tensor, "sample entry"] | None = None,
    ) -> Float[Tensor, "sample entry"]:
        """Per-sample gradient of rows start … stop, from the module's input and the gradient at its output.

        A linear map: Σ_t b_t a_tᵀ and Σ_t b_t. A norm, N(x) = (c + γ) ⊙ x̂ + β: Σ_t b_t ⊙ x̂_t and Σ_t b_t.
        A matrix's is written into `out`, of the same type, where that is given.
        """
        samples = len(gradient)
        flat = gradient.reshape(samples, -1, gradient.shape[-1])
        if self.is_matrix:
            a = entering.reshape(samples, -1, entering.shape[-1])
            shaped = None if out is None else out.view(samples, stop - start, -1)
            return torch.bmm(flat[:, :, start:stop].mT, a, out=shaped).reshape(samples, -1)
        if self.name == "weight":
            flat = flat * _normalised(self.module, entering).reshape(flat.shape)
        return flat[:, :, start:stop].sum(dim=1)


def _normalised(norm: nn.Module, entering: Tensor) -> Tensor:
    """x̂ of a norm that is affine in its weight: its output at weight 1 less that at weight 0.

    That holds whether the weight or 1 + weight multiplies, so no table of norms is needed.
    """
    named = dict(norm.named_parameters())
    ones = {name: torch.full_like(each, float(name == "weight")) for name, each in named.items()}
    zeros = {name: torch.zeros_like(each) for name, each in named.items()}
    with torch.no_grad():
        high, low = (functional_call(norm, values, (entering,)) for values in (ones, zeros))
    return high - low


def is_tied(model: HookedModel) -> bool:
    """Whether embedding and unembedding are one matrix; it then is in the group `embeddings`."""
    row = _row(model)
    embedding, unembedding = (model.module.get_submodule(path) for path in (row.token_embedding, row.unembedding))
    return embedding.weight is unembedding.weight


def block_parts(model: HookedModel, layer: int) -> list[Part]:
    """The parameters of a block, in four weights-and-biases groups and `block_norms`."""
    row = _row(model)
    parts = []
    for path, module in model.blocks[layer].named_modules():
        for name in _own(module):
            if _is_linear(module):
                home = next((each for each in ("attention", "mlp") if _inside(path, getattr(row, each))), None)
                group = None if home is None else f"{home}.{name}"
            else:
                group = "block_norms" if getattr(module, name).ndim == 1 else None
            if group is None:
                raise SnapshotError(
                    f"parameter {path}.{name} of block {layer} is in no group (attention, mlp, norms), so its "
                    "gradient cannot be told; use a model whose blocks are built of linear maps and norms."
                )
            parts.append(Part(group, layer, module, name, f"{row.blocks}.{layer}.{path}"))
    return parts


def final_parts(model: HookedModel) -> list[Part]:
    """The final norm's parameters."""
    path = _row(model).final_norm
    norm = model.module.get_submodule(path)
    return [Part("final_norm", None, norm, name, path) for name in _own(norm)]


def embedding_modules(model: HookedModel) -> tuple[list[nn.Embedding], list[Part]]:
    """(tables of tokens and positions, parameters of a norm behind them): what has parameters before block 0."""
    row = _row(model)
    outside = (row.blocks, row.final_norm, row.unembedding)
    root = row.blocks.rpartition(".")[0]
    tables: list[nn.Embedding] = []
    norms: list[Part] = []
    for path, module in model.module.get_submodule(root).named_modules(prefix=root):
        if any(_inside(path, each) for each in outside):
            continue
        if isinstance(module, nn.Embedding):
            tables.append(module)
        else:
            norms += [Part("embeddings", None, module, name, path) for name in _own(module)]
    return tables, norms


def choose_groups(model: HookedModel, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted groups; without any what is published, as far as the model has it. Errors: as `check_groups`."""
    if wanted is not None:
        check_groups(model, wanted)
        return tuple(dict.fromkeys(wanted))
    there = {part.group for layer in range(model.n_layers) for part in block_parts(model, layer)}
    there |= {part.group for part in final_parts(model)}
    return tuple(group for group in PUBLISHED if group in there)


def check_groups(model: HookedModel, wanted: Sequence[str]) -> None:
    """AnalysisError if a group is unknown or matches no parameter of this model."""
    there = {part.group for layer in range(model.n_layers) for part in block_parts(model, layer)}
    there |= {part.group for part in final_parts(model)} | {"embeddings"}
    there |= set() if is_tied(model) else {"unembedding"}
    for group in wanted:
        if group not in there:
            reason = "tied to the embeddings, and counted there" if group == "unembedding" else "of no parameter"
            known = ", ".join(each for each in GROUPS if each in there)
            raise AnalysisError(f"parameter group {group!r} is {reason}; this model has {known}.")


def _is_transposed(module: nn.Module) -> bool:
    """GPT-2's linear maps keep their weight as [in out], and `nf` output features."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and getattr(module, "nf", None) == weight.shape[1]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or _is_transposed(module)


def _own(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters(recurse=False)]


def _inside(path: str, folder: str) -> bool:
    return f"{path}.".startswith(f"{folder}.")


def _row(model: HookedModel) -> Architecture:
    if model.architecture is None:
        raise SnapshotError("a wrapped plain module has no blocks; open a language model of the table instead.")
    return model.architecture


def iter_modules(parts: Sequence[Part]) -> Iterator[nn.Module]:
    """The modules of parts, each once."""
    yield from dict.fromkeys(part.module for part in parts)
