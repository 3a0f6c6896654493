"""What a sparsity loss is: its config and the penalty on the codes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import PenaltyConfig


@dataclass(frozen=True)
class Strengths:
    """Gated code values (like `Codes.values`) and the decoder norm [latent] that weighs them, one pair for each gate.

    The values are made when a pair is come to. `Codes.means` and `Codes.tanh_means` do without them.
    """

    codes: Codes
    norms: Sequence[Float[Tensor, " latent"]]

    def __iter__(self) -> Iterator[tuple[Float[Tensor, "..."], Float[Tensor, " latent"]]]:
        for source, norm in enumerate(self.norms):
            yield self.codes.gated(source), norm


@dataclass(frozen=True)
class SparsityLoss:
    """A penalty `(codes, strengths, config) -> Float[Tensor, ""]` before its coefficient, and its config.

    The config's `kind` is the name in the registry. The penalty is a mean over tokens.
    """

    Config: type[PenaltyConfig]
    penalty: Callable[..., Tensor]
