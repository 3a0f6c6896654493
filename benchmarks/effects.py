"""Indirect effects of all latents: what they cost, what memory they take, how exact they are, what is found in noise.

*Cost.* 512 prompts in one snapshot against one forward and backward of the same prompts through the whole model, from
the embeddings to the metric and back; the weights' gradients are left out there as they are in ours, which makes the
reference the cheaper one. Codes are made before the clock starts. The figures: one gradient at most 3 times that; n
steps of integrated gradients at most n times one gradient (in forwards and backwards they stand beside). In the
residual stream the blocks before the hook point do not run; at the first block nothing is saved. CPU time of one
thread, in turns.

*Memory.* Growth of the resident size while effects are computed, with 65,536 latents over that with 4,096, in
processes of their own; codes are made before, and their peak stands beside.

*Exactness* and *false discoveries*: `effects_exact.py`, on families of real snapshots.

    python -m benchmarks.run --only effects
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.effects_exact import measure_families
from benchmarks.memory import ResidentPeak
from benchmarks.random_model import build_model
from benchmarks.timing import Line, Ratio, ratio, time_interleaved
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.effect_batches import PromptActivations, build_effect_batches, moving_positions
from ontogeny.interventions.effects import EffectBatch, EffectPlan
from ontogeny.interventions.prompts import Prompts, compute_metric, read_prompts
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint

GOAL_ONE, GOAL_MEMORY = 3.0, 1.1
N_PROMPTS, LENGTH, BATCH = 512, 16, 32
SMALL, LARGE = 4_096, 65_536


@dataclass(frozen=True)
class Case:
    """A random GPTNeoX, where its activations are changed, and the dictionary there."""

    hook_point: str = "resid_post.1"
    d_model: int = 128
    n_layers: int = 4
    vocab_size: int = 2_048
    n_latents: int = SMALL
    k: int = 32
    n_sources: int = 2

    def __str__(self) -> str:
        model = f"d_model {self.d_model}, {self.n_layers} blocks, V {self.vocab_size:,}"
        return f"{self.hook_point} of {model}; {self.n_latents:,} latents, k {self.k}"


QUICK = (Case(), Case("resid_pre.0"))
FULL = (*QUICK, Case("mlp_out.1"), Case("resid_post.2", 256, 6), Case(vocab_size=50_304))
STEPS = (1, 5)


class Setup:
    """A model, prompts that differ from their patch prompts in one token, and a random dictionary."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.case = case
        self.model = HookedModel(build_model(case.d_model, case.n_layers, case.vocab_size, LENGTH))
        for parameter in self.model.module.parameters():
            parameter.requires_grad_(False)
        tokens = torch.randint(1, case.vocab_size, (N_PROMPTS, LENGTH))
        patched = tokens.clone()
        patched[:, 3] = torch.randint(1, case.vocab_size, (N_PROMPTS,))
        right, wrong = torch.randint(1, case.vocab_size, (2, N_PROMPTS))
        last = torch.full((N_PROMPTS,), LENGTH - 1)
        occupied = torch.ones_like(tokens, dtype=torch.bool)
        self.clean, self.patch = (Prompts(each, occupied, last, right, wrong) for each in (tokens, patched))
        self.read = [self._read(prompts) for prompts in (self.clean, self.patch)]
        settings = {"n_latents": case.n_latents, "activation": {"kind": "topk", "k": case.k}, "aux_k": None}
        names = [f"source{number}" for number in range(case.n_sources)]
        self.dictionary = Crosscoder(CrosscoderConfig.model_validate(settings), names, d_model=case.d_model).eval()

    def _read(self, prompts: Prompts) -> PromptActivations:
        values = read_prompts(self.model, prompts, HookPoint.parse(self.case.hook_point), BATCH)
        places = tuple(range(self.case.n_sources))
        return PromptActivations(values[:, :, None].expand(-1, -1, len(places), -1).contiguous(), places, places)

    def encode(self) -> list[EffectBatch]:
        """Codes of all prompts and patch prompts."""
        clean, patch = self.read
        moves = moving_positions(self.clean)
        return build_effect_batches(self.dictionary, self.clean, clean, moves, patched=patch, batch=BATCH)[0]

    def plan(self, batches: list[EffectBatch], steps: int) -> EffectPlan:
        """One gradient, or the steps of a rule of midpoints."""
        points = [HookPoint.parse(self.case.hook_point)] * self.case.n_sources
        return EffectPlan(self.dictionary, points, batches, None, rule="mid" if steps > 1 else "left", steps=steps)

    def forward_backward(self) -> None:
        """The prompts once through the whole model and back, as plainly as can be."""
        embed = self.model.module.get_input_embeddings()
        for part in torch.arange(N_PROMPTS).split(BATCH):
            prompts = self.clean.take(part)
            state = embed(prompts.tokens).requires_grad_(True)
            with torch.enable_grad():
                logits = self.model.module(inputs_embeds=state, use_cache=False).logits
                torch.autograd.grad(compute_metric(logits, prompts).sum(), state)


def title_of(contestant: str) -> str:
    """What a contestant is called in the table."""
    return "one gradient" if contestant == "1 steps" else contestant


def measure_cost(case: Case, rounds: int) -> list[Line]:
    """One gradient, and 5 steps, in forwards and backwards of the prompts."""
    setup = Setup(case)
    batches = setup.encode()
    contestants: dict[str, Callable[[], object]] = {"forward and backward": setup.forward_backward}
    for steps in STEPS:
        plan = setup.plan(batches, steps)
        _ = plan.entries  # once for all snapshots
        contestants[f"{steps} steps"] = lambda plan=plan: plan.compute_source(setup.model, 0)
    contestants["encode"] = setup.encode
    times = time_interleaved(contestants, rounds)
    seconds = {name: timing.median for name, timing in times.items()}
    reference, sizes = times["forward and backward"], f"{N_PROMPTS} prompts of {LENGTH}, {case}"
    asked: list[tuple[str, str, float | None]] = [("1 steps", "forward and backward", GOAL_ONE)]
    for steps in STEPS[1:]:
        asked += [(f"{steps} steps", "1 steps", float(steps)), (f"{steps} steps", "forward and backward", None)]
    lines = [
        Line("effects", sizes, f"{title_of(what)} / {title_of(of)}", ratio(times[what], times[of]), seconds, goal)
        for what, of, goal in asked
    ]
    apart = ratio(times["encode"], reference)
    return [*lines, Line("effects", sizes, "encoding, counted apart / forward and backward", apart, seconds)]


def measure_growth(n_latents: int) -> dict[str, float]:
    """MiB by which this process grows while prompts are encoded, and while effects are computed."""
    torch.set_num_threads(1)
    warm = Setup(Case(d_model=64, n_latents=512))
    warm.plan(warm.encode(), 5).compute_source(warm.model, 0)
    setup = Setup(Case(d_model=64, n_latents=n_latents))
    with ResidentPeak() as encoding:
        batches = setup.encode()
    with ResidentPeak() as effects:
        plan = setup.plan(batches, 5)
        plan.gather([plan.compute_source(setup.model, 0)])
    return {"encode": encoding.growth, "effects": effects.growth}


def compare_growth(rounds: int) -> list[Line]:
    """Growth with the large dictionary over that with the small one."""
    grown: dict[int, list[dict[str, float]]] = {SMALL: [], LARGE: []}
    for _ in range(rounds):
        for n_latents, found in grown.items():
            command = [sys.executable, "-m", "benchmarks.effects", "--growth", str(n_latents)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    lines = []
    for stage, goal in (("effects", GOAL_MEMORY), ("encode", None)):
        small, large = ([each[stage] for each in grown[n_latents]] for n_latents in (SMALL, LARGE))
        shares = sorted(b / a for a, b in zip(small, large, strict=True))
        told = f"{stage}: growth of {max(large):.0f} MiB with {LARGE:,} latents / {max(small):.0f} MiB with {SMALL:,}"
        found_ratio = Ratio(shares[len(shares) // 2], shares[0], shares[-1])
        lines.append(Line("effects", f"memory, {N_PROMPTS} prompts of {LENGTH}", told, found_ratio, goal=goal))
    return lines


def measure(full: bool) -> list[Line]:
    """The lines of this question."""
    torch.set_num_threads(1)
    lines = [line for case in (FULL if full else QUICK) for line in measure_cost(case, rounds=7 if full else 3)]
    return [*lines, *compare_growth(5 if full else 1), *measure_families(full)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--growth"]:
        print(json.dumps(measure_growth(int(sys.argv[2]))))
    else:
        for line in measure("--full" in sys.argv[1:]):
            print(line)
