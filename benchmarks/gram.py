"""Products of per-token gradients against the published algorithm, on the same model, text and tokens.

The published algorithm (quanta-discovery, similarity_matrix_v1), written plainly: for each gradient one forward of the
whole document at batch 1, all logits and all losses, one backward from the token's loss through all parameters, the
gradient's wanted entries in one row; rows normalised; for each pair of blocks of tokens the second block's gradients
made again, N + N (n + 1) / 2 gradients for n blocks; all in float32. It is run whole, nothing is extrapolated. Models
are GPT-NeoX with random weights, documents random ids, one token of each at places spread evenly. CPU time of one
thread, interleaved. Errors: of both, against the published algorithm in float64, on the first tokens.

    python -m benchmarks.gram               every case
    python -m benchmarks.gram books         the cases whose names begin so
    python -m benchmarks.gram --profile     how far from the floor, 6 P N l + N^2 P flop at the rate of a large matmul
"""

import functools
import json
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.memory import ResidentPeak
from benchmarks.random_model import build_model
from benchmarks.timing import Line, Ratio, format_table, ratio, time_interleaved
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gram import compute_gram
from ontogeny.snapshots.hooks import HookedModel

CHECKED = 12
"""Tokens whose cosines are compared with those of float64 gradients."""
ALLOWED = {"model": 1e-5, "bfloat16": 1e-4}
"""Largest error of a cosine, by the format in which gradients are kept."""
MEMORY, MEMORY_TOKENS = 1.0, 2000
"""GB given, and tokens, where growth of memory is measured."""


@dataclass(frozen=True)
class Case:
    """A GPT-NeoX of random weights, its text, and the published algorithm's blocks of tokens."""

    n_tokens: int
    block: int
    length: int
    d_model: int
    n_layers: int
    vocabulary: int
    goal: float | None = None
    heads: int = 4

    @property
    def n_blocks(self) -> int:
        """Blocks of the published algorithm."""
        return -(-self.n_tokens // self.block)

    def __str__(self) -> str:
        shape = f"width {self.d_model}, {self.n_layers} blocks, {self.vocabulary:,} ids, documents of {self.length}"
        return f"{shape}; {self.n_tokens} tokens in {self.n_blocks} blocks of {self.block}"


CASES = {
    "vocabulary": Case(40, 1, 64, 128, 4, 50_304, goal=60),
    "books": Case(80, 2, 128, 128, 4, 2048, goal=40),
    "one block": Case(60, 60, 128, 128, 4, 2048, goal=4),
}
FULL = {**CASES, "vocabulary, pythia-14m": Case(40, 1, 256, 128, 6, 50_304, goal=60)}


def build_case(case: Case) -> tuple[HookedModel, Documents, np.ndarray]:
    """(model, documents of `length` tokens, canonical indices of tokens at even places)."""
    torch.manual_seed(0)
    model = HookedModel(build_model(case.d_model, case.n_layers, case.vocabulary, case.length, case.heads))
    rng = np.random.default_rng(0)
    documents = Documents.of(list(rng.integers(0, case.vocabulary, (case.n_tokens, case.length))))
    # One token a document; their places are spread evenly, in random order.
    place = rng.permutation(np.linspace(0, case.length - 2, case.n_tokens).round().astype(np.int64))
    return model, documents, np.arange(case.n_tokens) * (case.length - 1) + place


def published_parameters(model: HookedModel) -> list[torch.nn.Parameter]:
    """All but what is named layernorm or embed; the unembedding, which then was `embed_out`, is none of them."""
    left_out = ("layernorm", "embed", "lm_head")
    return [each for name, each in model.module.named_parameters() if not any(word in name for word in left_out)]


def make_gradient(model: HookedModel, documents: Documents, token: int, parameters: list[torch.nn.Parameter]) -> Tensor:
    """One row of the published algorithm."""
    document, place = (int(each[0]) for each in documents.locate(np.array([token])))
    ids = torch.from_numpy(documents.document(document))[None]
    model.module.zero_grad()
    logits = model.module(ids).logits
    losses = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
    losses[place - 1].backward()
    return torch.cat([each.grad.flatten() for each in parameters if each.grad is not None])


def compare_published(model: HookedModel, documents: Documents, tokens: np.ndarray, block: int) -> Tensor:
    """Cosines [token token] as published: pairs of blocks, the second block's gradients made anew for each."""
    parameters = published_parameters(model)

    def normalised(chosen: np.ndarray) -> Tensor:
        rows = torch.stack([make_gradient(model, documents, int(token), parameters) for token in chosen])
        return torch.nn.functional.normalize(rows, p=2, dim=1)

    blocks = [slice(start, start + block) for start in range(0, len(tokens), block)]
    cosines = torch.zeros(len(tokens), len(tokens))
    for number, rows in enumerate(blocks):
        left = normalised(tokens[rows])
        for columns in blocks[number:]:
            products = left @ normalised(tokens[columns]).T
            cosines[rows, columns] = products
            cosines[columns, rows] = products.T
    model.module.zero_grad()
    return cosines


def largest_errors(model: HookedModel, documents: Documents, tokens: np.ndarray) -> dict[str, float]:
    """Of cosines against float64: published, and ours by the format in which gradients are kept."""
    chosen = tokens[:CHECKED]
    found = {"published": compare_published(model, documents, chosen, CHECKED).numpy()}
    for storage in ALLOWED:
        config = GramConfig.model_validate({"storage": storage})
        found[storage] = compute_gram(model, documents, chosen, config).similarity()
    model.module.double()
    exact = compare_published(model, documents, chosen, CHECKED).numpy()
    model.module.float()
    return {name: float(np.abs(each - exact).max()) for name, each in found.items()}


def measure_case(name: str, rounds: int) -> list[Line]:
    """How many times our CPU time the published algorithm takes, and the errors of both."""
    case = FULL[name]
    model, documents, tokens = build_case(case)
    compare_published(model, documents, tokens[:4], 4)  # what libraries take once is not timed
    compute_gram(model, documents, tokens)
    times = time_interleaved(
        {
            "published": lambda: compare_published(model, documents, tokens, case.block),
            "ours": lambda: compute_gram(model, documents, tokens),
        },
        rounds=rounds,
        warmup=0,
    )
    seconds = {each: timing.median for each, timing in times.items()}
    title = f"{name}: {case}"
    lines = [
        Line(
            "gram", title, "published / ours", ratio(times["published"], times["ours"]), seconds, case.goal, "at_least"
        )
    ]
    errors = largest_errors(model, documents, tokens)
    for storage, allowed in ALLOWED.items():
        measure = f"largest error / {allowed:g}, kept as {storage} (published {errors['published']:.1g})"
        share = errors[storage] / allowed
        lines.append(Line("gram", title, measure, Ratio(share, share, share), goal=1.0))
    return lines


def measure_growth() -> float:
    """Growth of the resident size in this process in MiB, on the shape of `books`."""
    torch.set_num_threads(1)
    model, documents, _ = build_case(Case(250, 1, 128, 128, 4, 2048))
    chosen = np.random.default_rng(0).choice(documents.n_predicted, MEMORY_TOKENS, replace=False)
    config = GramConfig(memory=MEMORY)
    compute_gram(model, documents, chosen[:64], config)  # what libraries take once is not counted
    with ResidentPeak() as peak:
        compute_gram(model, documents, chosen, config)
    return peak.growth


def _memory_line() -> Line:
    command = [sys.executable, "-m", "benchmarks.gram", "--growth"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    growth, given = json.loads(done.stdout.splitlines()[-1]), MEMORY * 1e9 / 2**20
    measure = f"peak growth {growth:.0f} MiB / given {given:.0f} MiB"
    case = f"{MEMORY_TOKENS} tokens, the shape of books, memory = {MEMORY:g}"
    return Line("gram", case, measure, Ratio(growth / given, growth / given, growth / given), goal=1.0)


def measure(full: bool) -> list[Line]:
    """The lines of this question; memory, which takes some minutes, is asked in full only."""
    torch.set_num_threads(1)
    lines = [line for name in (FULL if full else CASES) for line in measure_case(name, 3 if full else 1)]
    return [*lines, _memory_line()] if full else lines


def print_profile() -> None:
    """CPU seconds of every case against the floor."""
    torch.set_num_threads(1)
    side = torch.randn(2048, 2048)
    start = time.process_time()
    for _ in range(3):
        side @ side
    rate = 3 * 2 * 2048**3 / (time.process_time() - start)
    for name, case in FULL.items():
        model, documents, tokens = build_case(case)
        n_parameters = sum(each.numel() for each in published_parameters(model))
        positions = int(documents.locate(tokens)[1].sum())
        floor = (6 * n_parameters * positions + n_parameters * len(tokens) ** 2) / rate
        times = time_interleaved({"ours": functools.partial(compute_gram, model, documents, tokens)}, rounds=5)
        ours = times["ours"].median
        print(f"{name:25} {ours:.2f} CPU-s, floor {floor:.2f} at {rate / 1e9:.0f} GFLOP/s: {ours / floor:.1f} times")


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked == ["--growth"]:
        print(json.dumps(measure_growth()))
    elif asked == ["--profile"]:
        print_profile()
    else:
        torch.set_num_threads(1)
        for chosen in [each for each in FULL if each.startswith(tuple(asked) or "")]:
            print(format_table(measure_case(chosen, 1)), flush=True)
