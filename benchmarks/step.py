"""What does a training step cost, as a multiple of the encoder's matmul measured in the same run?

One source, d_model 512, 8,192 latents, 2,048 tokens, k 32, fp32 (with `--sources` more of them). A step is forward,
backward, fused Adam and the threshold update. Steps and matmuls are interleaved, CPU time is counted, and the table
gives medians with their interquartile ranges, since machines are noisy.

    python benchmarks/step.py --quick
    python benchmarks/step.py --threads 2 --rounds 20 --json step.json
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A thread that waits must not count as work: spinning doubles the CPU time of two threads on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor

from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder, StepContext

MEBIBYTE = 2**20


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
    """A configuration to time, and the share of its latents that counts as dead."""

    name: str
    config: dict[str, Any]
    dead: float = 0.0


def cases(shape: Shape) -> list[Case]:
    """The steps that the product promises a cost for."""
    topk, batchtopk = ({"kind": kind, "k": shape.k} for kind in ("topk", "batchtopk"))
    l1 = {"kind": "l1", "coefficient": 1e-3}
    tanh = {"kind": "tanh", "coefficient": 1e-3}
    return [
        Case("topk", {"activation": topk, "aux_k": None}),
        Case("batchtopk", {"activation": batchtopk, "aux_k": None}),
        Case(f"topk, 30 % dead, aux-k {shape.k}", {"activation": topk, "aux_k": {"k": shape.k}}, 0.3),
        Case("topk, 30 % dead, aux-k d/2", {"activation": topk, "aux_k": {}}, 0.3),
        Case("groupmax", {"activation": {"kind": "groupmax", "k": shape.k}, "aux_k": None}),
        Case("relu, l1", {"activation": {"kind": "relu"}, "sparsity": l1, "aux_k": None}),
        Case("jumprelu, tanh", {"activation": {"kind": "jumprelu"}, "sparsity": tanh, "aux_k": None}),
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


def interleave(work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """CPU seconds of every piece of work in every round; the first round warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, run in work.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def peak_memory() -> float:
    """The largest resident size so far, in MiB (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBIBYTE


def measure(shape: Shape, rounds: int, names: list[str] | None) -> list[dict[str, float | str]]:
    """Time every case beside the matmul."""
    generator = torch.Generator().manual_seed(0)
    batches = [activations(shape, generator) for _ in range(3)]
    flat, W_enc = batches[0].flatten(1), torch.randn(shape.n_latents, shape.sources * shape.d_model)
    rows: list[dict[str, float | str]] = []
    for case in cases(shape):
        if names and not any(case.name.startswith(name) for name in names):
            continue
        before = peak_memory()
        times = interleave({"matmul": lambda: flat @ W_enc.T, "step": prepare(case, shape, batches)}, rounds)
        ratio = times["step"] / times["matmul"]
        low, middle, high = np.percentile(ratio, [25, 50, 75])
        rows.append(
            {
                "step": case.name,
                "matmul_ms": float(np.median(times["matmul"]) * 1e3),
                "step_ms": float(np.median(times["step"]) * 1e3),
                "ratio": float(middle),
                "ratio_low": float(low),
                "ratio_high": float(high),
                "peak_growth_mib": peak_memory() - before,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of every step")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--latents", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--only", nargs="*", help="names (or their beginnings) of the steps to time")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = Shape(options.d_model, options.latents, options.batch, options.k, options.sources)
    rows = measure(shape, 5 if options.quick else options.rounds, options.only)
    print(f"{shape}, {options.threads} thread(s): CPU time in encoder matmuls, median [quartiles]")
    for row in rows:
        spread = f"[{row['ratio_low']:.2f} {row['ratio_high']:.2f}]"
        print(f"{row['step']:28} {row['ratio']:6.2f} {spread:14} {row['step_ms']:8.0f} ms")
    if options.json:
        record = {"shape": vars(shape), "threads": options.threads, "torch": torch.__version__, "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
