"""Several accumulators that ride as one."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.batch import LatentBatch


class Together(Accumulator):
    """Accumulators by name; `compute` gives what each computed, by name."""

    def __init__(self, parts: Mapping[str, Accumulator]) -> None:
        self.parts = dict(parts)
        # Asked of the instance: whether activations are read depends on who is among the parts.
        self.needs_activations = any(part.needs_activations for part in parts.values())  # type: ignore[misc]

    def update(self, batch: LatentBatch) -> None:
        """Add a batch to each."""
        for part in self.parts.values():
            part.update(batch)

    def merge(self, other: "Together") -> None:
        """Merge each with its namesake."""
        for name, part in self.parts.items():
            part.merge(other.parts[name])

    def compute(self) -> dict[str, Any]:
        """What each computed, by name."""
        return {name: part.compute() for name, part in self.parts.items()}

    def state(self) -> dict[str, Tensor]:
        """The states of all, each name behind its part's."""
        return {f"{name}.{key}": value for name, part in self.parts.items() for key, value in part.state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, part in self.parts.items():
            mine = f"{name}."
            part.load_state({key.removeprefix(mine): each for key, each in state.items() if key.startswith(mine)})
