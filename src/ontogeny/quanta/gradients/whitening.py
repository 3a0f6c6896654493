"""Whitened gradients: by Adam's second moment, or by Kronecker factors of every linear map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from ontogeny.errors import AnalysisError
from ontogeny.quanta.gradients.forms import Form, make_gradient
from ontogeny.quanta.gradients.parameters import Part
from ontogeny.quanta.gradients.pieces import Piece
from ontogeny.quanta.gradients.sums import Sums
from ontogeny.quanta.gradients.taps import Flow

INPUT, OUTPUT, MOMENT, POSITIONS = "input:", "output:", "moment:", "positions:"
ADAM_KEY = "exp_avg_sq."
OPTIMIZER_FILE = "optimizer.safetensors"


class SecondMoments(Form):
    """g / √(v + λ · mean v), with v of a parameter's entries and mean v over the parameter.

    Source: the preconditioner of Adam, Kingma and Ba 2015.
    """

    outer = False

    def __init__(self, moments: Mapping[str, Float[Tensor, "row width"]], damping: float) -> None:
        """`moments`: v by parameter, [row width] as in `Part.oriented`."""
        self.scales = {name: _inverse_root(each, damping) for name, each in moments.items()}

    def entries(self, piece: Piece, samples: slice, values: Float[Tensor, "sample entry"]) -> Tensor:
        scale = self.scales[piece.part.parameter]
        return values * scale[piece.start : piece.stop].flatten().to(values)


class Kronecker(Form):
    """B^-½ G A^-½ of a linear map, made by rotating a and b; norms as in `SecondMoments`, biases by B alone.

    A = E[a aᵀ] over positions, B = E[Σ_t b_t b_tᵀ] over samples, each with λ times its mean eigenvalue added.
    Source: K-FAC, Martens and Grosse 2015, eq. 6; of the sample's own losses rather than of drawn labels.
    """

    def __init__(self, factors: Mapping[str, Float[Tensor, "side side"]], moments: Form, damping: float) -> None:
        """`factors`: A by `input:` and B by `output:` with the map's path behind."""
        self.roots = {name: _inverse_matrix_root(each, damping) for name, each in factors.items()}
        self.moments = moments

    def vectors(
        self, part: Part, entering: Float[Tensor, "sample ..."], gradient: Float[Tensor, "sample ..."]
    ) -> tuple[Float[Tensor, "sample ..."], Float[Tensor, "sample ..."]]:
        if not part.is_linear:
            return entering, gradient
        if not part.is_matrix:
            gradient = gradient.reshape(len(gradient), -1, gradient.shape[-1]).sum(dim=1, keepdim=True)
        gradient = gradient @ self.roots[OUTPUT + part.path].to(gradient)
        return (entering @ self.roots[INPUT + part.path].to(entering) if part.is_matrix else entering), gradient

    def entries(self, piece: Piece, samples: slice, values: Float[Tensor, "sample entry"]) -> Tensor:
        return values if piece.part.is_linear else self.moments.entries(piece, samples, values)


class MomentSums(Sums):
    """Σ g² of every entry over samples, [row width] by parameter."""

    outer = False

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def take(self, piece: Piece, flow: Flow) -> None:
        part = piece.part
        made = make_gradient((), piece, flow)
        dtype = torch.float64 if made.dtype == torch.float64 else torch.float32
        total = self.at(MOMENT + part.parameter, (part.rows, part.width), dtype, self.device)
        total[piece.start : piece.stop] += made.to(dtype).square().sum(dim=0).view(-1, part.width)

    def moments(self, n_samples: int) -> dict[str, Tensor]:
        """The mean over samples, by parameter."""
        named = {name.removeprefix(MOMENT): each for name, each in self.values.items() if name.startswith(MOMENT)}
        return {name: each / n_samples for name, each in named.items()}


class FactorSums(MomentSums):
    """Σ a aᵀ and Σ b bᵀ over positions by linear map, Σ g² of the rest."""

    def begin(self, pieces: Sequence[Piece]) -> None:
        self._weighed = {piece.part.path for piece in pieces if piece.part.is_matrix}

    def take(self, piece: Piece, flow: Flow) -> None:
        part = piece.part
        if not part.is_linear:
            super().take(piece, flow)
            return
        assert (piece.start, piece.stop) == (0, part.rows), "nothing is kept, so nothing is cut"
        if not part.is_matrix and part.path in self._weighed:
            return  # the weight's b is the bias's
        self._add(OUTPUT + part.path, flow.gradient.flatten(0, -2))
        if part.is_matrix:
            entering, real = flow.entering, flow.real
            at_all = entering.shape[1] == real.shape[1]
            a = entering[real.to(entering.device)] if at_all else entering.flatten(0, -2)
            self._add(INPUT + part.path, a)
            self.at(POSITIONS + part.path, (1,), torch.float64, self.device).add_(len(a))

    def _add(self, name: str, vectors: Float[Tensor, "position side"]) -> None:
        side = vectors.shape[1]
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        self.at(name, (side, side), torch.float64, self.device).add_(wide.T @ wide)

    def factors(self, n_samples: int) -> dict[str, Tensor]:
        """A and B of every map."""
        outputs = {name: each / n_samples for name, each in self.values.items() if name.startswith(OUTPUT)}
        inputs = {name: each for name, each in self.values.items() if name.startswith(INPUT)}
        counts = {name: self.values[POSITIONS + name.removeprefix(INPUT)] for name in inputs}
        return outputs | {name: each / counts[name] for name, each in inputs.items()}


def find_optimizer_state(snapshot: Path) -> Path | None:
    """`optimizer.safetensors` in a snapshot's folder, or the state of a family that was grown beside it."""
    beside = snapshot.parent / "checkpoint" / f"{snapshot.name}.safetensors"
    return next((path for path in (snapshot / OPTIMIZER_FILE, beside) if path.is_file()), None)


def load_second_moments(path: Path, parts: Mapping[str, Part]) -> dict[str, Float[Tensor, "row width"]]:
    """Adam's v of parameters by name, from a safetensors file with `exp_avg_sq.NAME`.

    AnalysisError for a parameter that is not there, or of another shape.
    """
    moments = {}
    with safe_open(path, "pt") as file:
        there = set(file.keys())
        for name, part in parts.items():
            wanted = tuple(getattr(part.module, part.name).shape)
            found = file.get_tensor(ADAM_KEY + name) if ADAM_KEY + name in there else None
            if found is None or tuple(found.shape) != wanted:
                state = "nothing" if found is None else f"shape {tuple(found.shape)}"
                raise AnalysisError(
                    f"the optimizer's state {path} has {state} for {name}, of shape {wanted}; give the state of this "
                    "model, or none, to take the second moment from the tokens."
                )
            moments[name] = part.oriented(found.float())
    return moments


def _inverse_root(moment: Tensor, damping: float) -> Tensor:
    """1 / √(v + λ mean v); 1 for a parameter without gradient."""
    mean = moment.mean()
    return torch.ones_like(moment) if mean == 0 else (moment + damping * mean).rsqrt()


def _inverse_matrix_root(matrix: Float[Tensor, "side side"], damping: float) -> Float[Tensor, "side side"]:
    """(M + λ mean eigenvalue)^-½; the identity where M is zero."""
    mean = matrix.diagonal().mean()
    if mean == 0:
        return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * (values.clamp(min=0) + damping * mean).rsqrt()) @ vectors.T
