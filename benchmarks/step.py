"""What does a training step cost, as a multiple of the encoder's matmul measured in the same run?

One source, d_model 512, 8,192 latents, 2,048 tokens, k 32, fp32 (with `--sources` more of them). A step is forward,
backward, fused Adam and the threshold update. All steps and the matmul take turns, and CPU time is counted.

    python -m benchmarks.step
    python -m benchmarks.step --threads 2 --rounds 20 --only topk
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# A thread that waits must not count as work: spinning doubles the CPU time of two threads on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from benchmarks.timing import Line, Timing, format_table, ratio, time_interleaved
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder, StepContext


@dataclass(frozen=True)
class Shape:
    """The sizes of one measurement."""

    d_model: int
    n_latents: int
    batch: int
    k: int
    sources: int


@dataclass(frozen=True)
class Case:
    """A configuration to time: its goal in matmuls, the share of latents that counts as dead, the case without them."""

    name: str
    config: dict[str, Any]
    goal: float | None = None
    dead: float = 0.0
    without: str | None = None
    goal_beside: float | None = None


def cases(shape: Shape) -> list[Case]:
    """The steps that the product promises a cost for."""
    topk, batchtopk = ({"kind": kind, "k": shape.k} for kind in ("topk", "batchtopk"))
    l1 = {"kind": "l1", "coefficient": 1e-3}
    tanh = {"kind": "tanh", "coefficient": 1e-3}
    aux = f"topk, 30 % dead, aux-k {shape.k}"
    return [
        Case("topk", {"activation": topk, "aux_k": None}, goal=1.45),
        Case("batchtopk", {"activation": batchtopk, "aux_k": None}, goal=1.6),
        Case(aux, {"activation": topk, "aux_k": {"k": shape.k}}, dead=0.3, without="topk", goal_beside=1.3),
        Case("topk, 30 % dead, aux-k d/2", {"activation": topk}, dead=0.3, without="topk", goal_beside=1.9),
        Case("groupmax", {"activation": {"kind": "groupmax", "k": shape.k}, "aux_k": None}),
        Case("relu, l1", {"activation": {"kind": "relu"}, "sparsity": l1, "aux_k": None}, goal=5 * 1.1),
        Case("jumprelu, tanh", {"activation": {"kind": "jumprelu"}, "sparsity": tanh, "aux_k": None}, goal=5 * 1.25),
    ]


def activations(shape: Shape, generator: torch.Generator) -> Tensor:
    """Sparse mixtures of random directions with noise [token source d_model]: neither all noise nor all signal."""
    width = shape.sources * shape.d_model
    directions = torch.randn(2000, width, generator=generator)
    strength = torch.rand(shape.batch, 2000, generator=generator)
    active = torch.rand(shape.batch, 2000, generator=generator) < 0.01
    x = (strength * active) @ directions + 0.3 * torch.randn(shape.batch, width, generator=generator)
    return x.view(shape.batch, shape.sources, shape.d_model)


def prepare(case: Case, shape: Shape, batches: list[Tensor]) -> Callable[[], None]:
    """A function that makes one whole training step."""
    names = [f"source{i}" for i in range(shape.sources)]
    config = CrosscoderConfig.model_validate({"n_latents": shape.n_latents, **case.config})
    crosscoder = Crosscoder(config, names, d_model=shape.d_model)
    crosscoder.set_scales(shape.d_model**0.5 / batches[0].norm(dim=2).mean(0))
    optimizer = torch.optim.Adam(crosscoder.parameters(), lr=1e-4, fused=True)
    dead = torch.rand(shape.n_latents) < case.dead if case.dead else None
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        output = crosscoder.training_step(batches[turn % len(batches)], StepContext(dead=dead))
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        crosscoder.after_step(output.codes)

    return step


def compare(shape: Shape, rounds: int, names: list[str] | None = None) -> list[Line]:
    """Every case's step in encoder matmuls, and with aux-k in steps without; all of them take turns."""
    generator = torch.Generator().manual_seed(0)
    batches = [activations(shape, generator) for _ in range(3)]
    flat, W_enc = batches[0].flatten(1), torch.randn(shape.n_latents, shape.sources * shape.d_model)
    chosen = [case for case in cases(shape) if not names or any(case.name.startswith(name) for name in names)]
    work: dict[str, Callable[[], object]] = {"matmul": lambda: flat @ W_enc.T}
    work |= {case.name: prepare(case, shape, batches) for case in chosen}
    times = time_interleaved(work, rounds)
    lines = [_line(case, "matmul", case.goal, times) for case in chosen]
    return lines + [
        _line(case, case.without, case.goal_beside, times) for case in chosen if case.without and case.without in times
    ]


def _line(case: Case, beside: str, goal: float | None, times: dict[str, Timing]) -> Line:
    seconds = {"step": times[case.name].median, beside: times[beside].median}
    measure = f"step / {beside}" if beside == "matmul" else f"step / step of {beside} without it"
    return Line("step", case.name, measure, ratio(times[case.name], times[beside]), seconds, goal)


def measure(full: bool) -> list[Line]:
    """What `benchmarks.run` asks."""
    return compare(Shape(d_model=512, n_latents=8192, batch=2048, k=32, sources=1), 15 if full else 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of every step")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--latents", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--only", nargs="*", help="names (or their beginnings) of the steps to time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = Shape(options.d_model, options.latents, options.batch, options.k, options.sources)
    print(f"{shape}, {options.threads} thread(s), CPU time")
    print(format_table(compare(shape, options.rounds, options.only)))


if __name__ == "__main__":
    main()
