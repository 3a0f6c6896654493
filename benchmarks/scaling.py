"""Latent scaling of all latents in one pass, against the published algorithm on the same activations.

The published algorithm (Minder et al. 2025; closed-form betas of science-of-finetuning/sparsity-artifacts-crosscoders),
written plainly: one pass over the data for each target and source, each encoding anew into dense codes in batches of
128, A += y^T f over the latents that are active in the batch, fp32 sums. Its error targets build, for every latent, the
reconstruction without it, [latent token d_model], and are therefore computed for a subset of the latents, as there.
Ours: `ScalingAccumulator` over batches of 2,048, all latents, all targets, standard errors, both kinds of probe. Both
pay for their encoding, and both are checked against each other. CPU time, interleaved, one thread.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import Line, ratio, time_interleaved
from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.activation_functions.batchtopk import BatchTopK
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.batch import LatentBatch
from ontogeny.latents.betas import Scaling, iter_scaling
from ontogeny.latents.scaling import Probes, ScalingAccumulator

GOAL = 10.0
PUBLISHED_BATCH = 128
TARGETS = ("activation", "activation_no_bias", "reconstruction", "error")


@dataclass(frozen=True)
class Case:
    """Sizes, and of how many latents the published algorithm makes the error's betas."""

    n_sources: int = 2
    d_model: int = 256
    n_latents: int = 4096
    l0: int = 50
    n_tokens: int = 4096
    error_latents: int = 256

    def __str__(self) -> str:
        sizes = f"{self.n_sources} sources x {self.d_model}, {self.n_latents:,} latents, l0 {self.l0}"
        return f"{sizes}, {self.n_tokens:,} tokens; theirs {self.error_latents} error latents"


QUICK = (Case(),)
FULL = (Case(), Case(n_sources=8, n_latents=8192, l0=32, n_tokens=2048))


def make_dictionary(case: Case, x: Tensor) -> Crosscoder:
    """A BatchTopK dictionary whose threshold lets through `l0` latents a token."""
    config = CrosscoderConfig.model_validate(
        {"n_latents": case.n_latents, "activation": {"kind": "batchtopk", "k": case.l0}, "aux_k": None}
    )
    dictionary = Crosscoder(config, [f"source{i}" for i in range(case.n_sources)], d_model=case.d_model).eval()
    with torch.no_grad():
        dictionary.b_dec.normal_(std=0.1)
        assert isinstance(dictionary.activation, BatchTopK)
        scores = dictionary.preactivation(dictionary.normalise(x)).scores.flatten()
        near = scores.topk(len(x) * case.l0 + 500).values[-1000:]
        # In the widest gap near the wanted place, so that rounding moves no latent across it.
        gap = int((near[:-1] - near[1:]).argmax())
        dictionary.activation.threshold.fill_(float(near[gap] + near[gap + 1]) / 2)
    return dictionary


@torch.no_grad()
def scale_published(dictionary: Crosscoder, x: Tensor, error_latents: int) -> dict[tuple[str, int], Tensor]:
    """Betas [latent] by (target, source), probing with the last source's decoder; a pass a target."""
    return {
        (target, source): _one_pass(dictionary, x, target, source, error_latents)
        for target in TARGETS
        for source in range(dictionary.n_sources)
    }


def _one_pass(dictionary: Crosscoder, x: Tensor, target: str, source: int, error_latents: int) -> Tensor:
    chosen = slice(0, error_latents if target == "error" else dictionary.n_latents)
    W_dec, probe = dictionary.W_dec[:, source], dictionary.W_dec[chosen, -1]
    sums, squares = torch.zeros(x.shape[2], len(probe)), torch.zeros(len(probe))
    for batch in x.split(PUBLISHED_BATCH):
        codes = _encode_dense(dictionary, batch)
        f, here = codes[:, chosen], batch[:, source]
        active = f.any(0)
        squares += f.square().sum(0)
        if target == "error":
            alive = torch.nonzero(active).flatten()
            recon = codes @ W_dec + dictionary.b_dec[source]
            own = f[:, alive].T[:, :, None] * W_dec[alive][:, None, :]
            others = recon.repeat(len(alive), 1, 1) - own
            y = here.repeat(len(alive), 1, 1) - others
            sums[:, alive] += torch.einsum("jtd,tj->dj", y, f[:, alive])
            continue
        if target == "activation":
            y = here
        elif target == "activation_no_bias":
            y = here - dictionary.b_dec[source]
        else:
            y = codes @ W_dec + dictionary.b_dec[source]
        sums[:, active] += y.T @ f[:, active]
    return (sums * probe.T).sum(0) / (squares * probe.square().sum(1))


def _encode_dense(dictionary: Crosscoder, x: Tensor) -> Tensor:
    per_source = torch.einsum("tsd,jsd->tsj", x, dictionary.W_enc)
    f = torch.relu(per_source.sum(1) + dictionary.b_enc)
    norms = torch.linalg.vector_norm(dictionary.W_dec, dim=2).sum(1)
    assert isinstance(dictionary.activation, BatchTopK)
    return f * (f * norms > dictionary.activation.threshold)


@torch.no_grad()
def scale_ours(dictionary: Crosscoder, x: Tensor) -> Scaling:
    """All betas, nus and standard errors of all latents along the same probe."""
    probes = Probes.of_sources(dictionary, np.full((1, dictionary.n_latents), dictionary.n_sources - 1))
    accumulator = ScalingAccumulator(dictionary, probes)
    for first, batch in zip(range(0, len(x), 2048), x.split(2048), strict=True):
        place = np.arange(first, first + len(batch))
        columns = TokenColumns(*(place // 100 for _ in range(5)))
        codes = dictionary.encode(batch).sparse()
        accumulator.update(LatentBatch(dictionary, codes, columns, first, dictionary.normalise_target(batch)))
    (scaling,) = iter_scaling(accumulator.compute(), chunk=dictionary.n_latents)
    return scaling


def check(case: Case, dictionary: Crosscoder, x: Tensor) -> None:
    """Both find the same betas."""
    ours = scale_ours(dictionary, x)
    for (target, source), theirs in scale_published(dictionary, x, case.error_latents).items():
        mine = getattr(ours, f"beta_{target}").value[: len(theirs), source]
        difference = np.nanmax(np.abs(mine - theirs.numpy()) / np.maximum(1, np.abs(mine)))
        assert difference < 1e-3, f"{target} of source {source}: the algorithms differ by {difference:.2g}"


def measure(full: bool) -> list[Line]:
    """How many times our CPU time the published algorithm takes."""
    torch.set_num_threads(1)
    lines = []
    for case in FULL if full else QUICK:
        torch.manual_seed(0)
        x = torch.randn(case.n_tokens, case.n_sources, case.d_model)
        dictionary = make_dictionary(case, x)
        check(case, dictionary, x)
        times = time_interleaved(
            {
                "published": lambda x=x, d=dictionary, n=case.error_latents: scale_published(d, x, n),
                "ours": lambda x=x, d=dictionary: scale_ours(d, x),
                "encode": lambda x=x, d=dictionary: [d.encode(batch) for batch in x.split(2048)],
            },
            rounds=5 if full else 3,
            warmup=1,
        )
        seconds = {name: timing.median for name, timing in times.items()}
        print("  ".join(f"{name} {value:.2f} CPU-s" for name, value in seconds.items()))
        against = ratio(times["published"], times["ours"])
        lines.append(Line("scaling", str(case), "published / ours", against, seconds, GOAL, "at_least"))
        lines.append(Line("scaling", str(case), "ours / encode", ratio(times["ours"], times["encode"]), seconds))
    return lines
