"""What rides on a pass: sums over tokens, updated batch by batch, merged across parts, computed at the end."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ontogeny.latents.batch import LatentBatch


class Accumulator(ABC):
    """Sums over the tokens of a pass.

    Two accumulators made alike, updated with two parts of the tokens and merged in token order, hold what one updated
    with all of them holds (to the rounding of float64). Nothing in one grows with tokens x latents.
    """

    needs_activations: ClassVar[bool] = False
    """Whether `update` reads `batch.x` (or `batch.recon`)."""

    @abstractmethod
    def update(self, batch: LatentBatch) -> None:
        """Add a batch."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add what an accumulator of the same kind has seen of later tokens."""

    @abstractmethod
    def compute(self) -> Any:
        """What the sums say: a dataclass of arrays."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that `update` changes, as tensors, so that a pass can be resumed and merged across processes."""

    @abstractmethod
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
