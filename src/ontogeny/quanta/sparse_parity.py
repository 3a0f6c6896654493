"""Multitask sparse parity: a truth for quanta, with tasks whose frequencies fall as a power of their rank.

Input: the task one-hot, then n bits; target: the parity of the task's own k bits. A network with one hidden layer
learns task after task, the frequent ones first, each at a step ∝ 1 / frequency. A sample's quantum is its task.
Source: Michaud et al. 2023, arXiv 2303.13506, and the code beside it (sparse-parity-v4).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from ontogeny.config import Config
from ontogeny.quanta.curves import PowerLaw, fit_power_law
from ontogeny.quanta.selection import BITS

Count = Annotated[int, Field(ge=1)]
REFERENCE_SAMPLES = 2000
"""Draws over which second moments of gradients are taken."""


class ParityConfig(Config):
    """The tasks and how they are learned; small enough for some seconds. `PUBLISHED` has the paper's numbers."""

    n_tasks: Count = 15
    """How many tasks there are."""
    n_bits: Count = 12
    """Bits shown with every task."""
    size: Count = 3
    """Bits that matter to a task."""
    exponent: Annotated[float, Field(ge=0)] = 1.0
    """Frequencies go as (rank + offset)^-exponent; α + 1 of the paper."""
    offset: Annotated[float, Field(ge=0)] = 0.0
    """Added to ranks, which count from 1."""
    width: Count = 256
    """Units of the hidden layer."""
    batch_size: Count = 1000
    """Samples a step."""
    steps: Count = 7000
    """Steps of AdamW."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Its learning rate."""
    every: Count = 25
    """Steps between measurements of the losses of all tasks."""
    n_test: Count = 150
    """Samples a task that they are measured on."""
    seed: int = 0
    """Of tasks, weights and samples."""

    @model_validator(mode="after")
    def _bits_enough(self) -> "ParityConfig":
        if self.size > self.n_bits:
            raise ValueError(f"size = {self.size} bits that matter, of n_bits = {self.n_bits}; show more bits")
        if math.comb(self.n_bits, self.size) < self.n_tasks:
            raise ValueError(
                f"n_bits = {self.n_bits} have {math.comb(self.n_bits, self.size)} sets of size = {self.size}, fewer "
                f"than n_tasks = {self.n_tasks}; show more bits"
            )
        return self


PUBLISHED = ParityConfig(
    n_tasks=500, n_bits=100, size=3, exponent=1.4, width=500, batch_size=20_000, steps=200_000, every=500
)


class ParityTasks:
    """The tasks of a config, and draws of their samples."""

    def __init__(self, config: ParityConfig) -> None:
        draw = np.random.default_rng(config.seed)
        subsets: dict[tuple[int, ...], None] = {}
        while len(subsets) < config.n_tasks:  # no two tasks with the same bits: they would be one
            subsets[tuple(sorted(draw.choice(config.n_bits, config.size, replace=False).tolist()))] = None
        self.n_bits, self.n_tasks = config.n_bits, config.n_tasks
        self.subsets: Int[Tensor, "task size"] = torch.tensor(list(subsets))
        share = (torch.arange(1, config.n_tasks + 1, dtype=torch.float64) + config.offset) ** -config.exponent
        self.frequency: Float[Tensor, " task"] = share / share.sum()
        self.generator = torch.Generator().manual_seed(config.seed)

    def draw_tasks(self, n: int) -> Int[Tensor, " sample"]:
        """Tasks by frequency."""
        return torch.multinomial(self.frequency, n, replacement=True, generator=self.generator)

    def draw(self, tasks: Int[Tensor, " sample"]) -> tuple[Float[Tensor, "sample input"], Int[Tensor, " sample"]]:
        """Inputs and targets of one sample for each task given."""
        bits = torch.randint(0, 2, (len(tasks), self.n_bits), generator=self.generator)
        target = bits.gather(1, self.subsets[tasks]).sum(dim=1) % 2
        return torch.cat([torch.nn.functional.one_hot(tasks, self.n_tasks), bits], dim=1).float(), target


@dataclass(frozen=True)
class ParityRun:
    """A trained network, and the losses [measurement task] of all tasks in bits at `steps`."""

    tasks: ParityTasks
    network: torch.nn.Sequential
    steps: Int[np.ndarray, " measurement"]
    losses: Float[np.ndarray, "measurement task"]

    def emergence(self, threshold: float = 0.1) -> Float[np.ndarray, " task"]:
        """The first step measured with a loss below the threshold (bits), as published; NaN where there is none."""
        below = self.losses < threshold
        return np.where(below.any(axis=0), self.steps[below.argmax(axis=0)].astype(np.float64), np.nan)

    def emergence_law(self, threshold: float = 0.1) -> PowerLaw:
        """step ∝ frequency^exponent over the tasks that emerged after step 0; the theory says −1."""
        steps = self.emergence(threshold)
        known = steps > 0
        return fit_power_law(self.tasks.frequency.numpy()[known], steps[known])


def train_parity(config: ParityConfig) -> ParityRun:
    """Train with cross-entropy and AdamW; deterministic in the config."""
    tasks = ParityTasks(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(config.n_tasks + config.n_bits, config.width),
            torch.nn.ReLU(),
            torch.nn.Linear(config.width, 2),
        )
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr)
    test = tasks.draw(torch.arange(config.n_tasks).repeat_interleave(config.n_test))
    steps, losses = [], []
    for step in range(config.steps + 1):
        if step % config.every == 0:
            steps.append(step)
            losses.append(_task_losses(network, *test, config.n_tasks))
        inputs, targets = tasks.draw(tasks.draw_tasks(config.batch_size))
        loss = torch.nn.functional.cross_entropy(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ParityRun(tasks, network, np.array(steps), np.stack(losses))


@torch.no_grad()
def _task_losses(
    network: torch.nn.Sequential, inputs: Tensor, targets: Tensor, n_tasks: int
) -> Float[np.ndarray, " task"]:
    """Mean loss of every task in bits, its samples lying together."""
    losses = torch.nn.functional.cross_entropy(network(inputs), targets, reduction="none")
    return losses.view(n_tasks, -1).mean(dim=1).double().numpy() * float(BITS)


@torch.no_grad()
def compute_sample_gradients(
    network: torch.nn.Sequential, inputs: Float[Tensor, "sample input"], targets: Int[Tensor, " sample"]
) -> Float[Tensor, "sample parameter"]:
    """The gradient of every sample's loss at all weights and biases, float64, in closed form."""
    first, last = network[0], network[2]
    assert isinstance(first, torch.nn.Linear) and isinstance(last, torch.nn.Linear)
    hidden = first(inputs)
    active = hidden.relu()
    at_logits = torch.softmax(last(active), dim=1) - torch.nn.functional.one_hot(targets, 2)
    at_hidden = (at_logits @ last.weight) * (hidden > 0)
    parts = [
        (at_hidden[:, :, None] * inputs[:, None]).flatten(1),
        at_hidden,
        (at_logits[:, :, None] * active[:, None]).flatten(1),
        at_logits,
    ]
    return torch.cat(parts, dim=1).double()


def compute_parity_similarity(
    run: ParityRun,
    inputs: Float[Tensor, "sample input"],
    targets: Int[Tensor, " sample"],
    entries: Literal["signed", "absolute"] = "signed",
    whitened: bool = False,
    damping: float = 1e-4,
) -> Float[np.ndarray, "sample sample"]:
    """Cosines of gradients, or of |g|; whitened: of g / √(v + damping · mean v), v the mean of g² over fresh samples.

    The signs of a task's gradients follow its target, and half of its samples have either: their cosines cancel.
    """
    gradients = compute_sample_gradients(run.network, inputs, targets)
    if whitened:
        reference = compute_sample_gradients(run.network, *run.tasks.draw(run.tasks.draw_tasks(REFERENCE_SAMPLES)))
        moment = reference.square().mean(dim=0)
        gradients = gradients / (moment + damping * moment.mean()).sqrt()
    if entries == "absolute":
        gradients = gradients.abs()
    unit = torch.nn.functional.normalize(gradients, dim=1)
    return (unit @ unit.T).clamp(-1, 1).numpy()
