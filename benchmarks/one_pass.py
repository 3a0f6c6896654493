"""Statistics, latent scaling, evolution and examples of all latents against encoding the same rows once.

8 sources x 256, 8,192 latents, 32 active a token: the encoder is one matmul of 2,048 x 8,192 a token. Both contestants
read the same store of harvested form; the analyses' side encodes, writes the code cache, carries all riders, and writes
every table of the four results to disk. CPU time of one thread, in turns. What the tables cost is some 10 s
whatever the text's length, so shorter texts have a larger ratio.

    python -m benchmarks.one_pass --rows 32768
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Line, Timing, collect_rounds, cpu_seconds, ratio
from ontogeny.activations.plan import plan_stream
from ontogeny.activations.sharded import OrderedStore, open_stream
from ontogeny.activations.shards import ShardWriter
from ontogeny.analyses import ANALYSES, AnalysisInputs
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.results import save_result
from ontogeny.tokens.corpus import Corpus
from ontogeny.tokens.vocabulary import closed_tokenizer
from ontogeny.types import HookPoint, Snapshot, Source

GOAL = 1.5
ASKED = ("statistics", "latent_scaling", "evolution", "examples")
N_SOURCES, D_MODEL, N_LATENTS, K, BATCH = 8, 256, 8_192, 32, 2_048
WIDTH, DOCUMENT, VOCABULARY = 128, 512, 5_000


def write_store(folder: Path, n_rows: int) -> tuple[OrderedStore, Corpus]:
    """Random activations of tokens in order, a document every 512, as a harvest of held-out text writes them."""
    generator = torch.Generator().manual_seed(0)
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (n_rows // WIDTH, WIDTH))
    corpus = Corpus.from_tokens(tokens)
    corpus.held_out[:] = True
    corpus.document[:] = (np.arange(len(tokens)) * WIDTH // DOCUMENT)[:, None]
    plan = plan_stream(corpus, "held_out", 0, 32_768, layout="ordered")
    directories = [folder / f"step{2**place}" for place in range(N_SOURCES)]
    for directory in directories:
        snapshot = Snapshot("random", label=directory.name, step=int(directory.name.removeprefix("step")))
        writer = ShardWriter(directory, Source(snapshot, HookPoint("resid_post", 0)), plan)
        for shard, count in enumerate(plan.counts):
            values = torch.randn(int(count), D_MODEL, generator=generator)
            writer.write(shard, values.bfloat16(), torch.linalg.vector_norm(values, dim=1))
        writer.finish()
    store = open_stream(directories, plan)
    assert isinstance(store, OrderedStore)
    return store, corpus


def make_dictionary(store: OrderedStore) -> Crosscoder:
    """A dictionary of random directions whose threshold leaves 32 latents a token."""
    config = CrosscoderConfig.model_validate(
        {"n_latents": N_LATENTS, "activation": {"kind": "batchtopk", "k": K, "threshold_warmup": False}}
    )
    dictionary = Crosscoder(config, [source.snapshot.label for source in store.sources], d_model=D_MODEL)
    with torch.no_grad():
        # Decoders whose norms differ by source, so that there are lives to follow.
        dictionary.W_dec.mul_(torch.rand(N_LATENTS, N_SOURCES, 1) + 0.05)
        x = store.read_rows(np.arange(4 * BATCH))
        dictionary.train()
        for start in range(0, len(x), BATCH):
            dictionary.after_step(dictionary.training_step(x[start : start + BATCH]).codes)
    return dictionary.eval()


def analyze_all(dictionary: Crosscoder, store: OrderedStore, corpus: Corpus, folder: Path) -> dict[str, float]:
    """The pass with its cache, then the four results; CPU seconds by part."""
    seconds: dict[str, float] = {}

    def clock(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = work()
        seconds[name] = time.process_time() - start
        return made

    words = [f"w{number}" for number in range(1, VOCABULARY)]
    series: Any = SimpleNamespace(tokenizer=closed_tokenizer(words))
    configs = {name: ANALYSES[name].Config() for name in ASKED}
    inputs = {
        name: AnalysisInputs(dictionary, corpus, store, series, None, folder / "scratch" / name, "cpu")
        for name in ASKED
    }
    riders = {name: ride(inputs[name], configs[name]) for name in ASKED if (ride := ANALYSES[name].ride)}
    writer = CodeCacheWriter(folder / "codes", dictionary, "benchmark")
    clock("pass", lambda: run_pass(dictionary, store, riders, batch_size=BATCH, cache=writer))
    cache = clock("cache by latent", writer.finish)
    for name in ASKED:
        inputs[name].scratch.mkdir(parents=True)
        accumulated = riders[name].compute() if name in riders else None
        given = replace(inputs[name], codes=cache, accumulated=accumulated)
        clock(name, lambda g=given, n=name: save_result(ANALYSES[n].run(g, configs[n]), folder / "results" / n))
    seconds["l0"] = cache.n_pairs / cache.n_tokens
    return seconds


def compare(n_rows: int, rounds: int) -> tuple[list[Line], list[dict[str, float]]]:
    """All four analyses against the encoder over the same rows; and the parts, a round each."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # CPU time of threads that wait would be counted as work
    parts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as root:
        store, corpus = write_store(Path(root) / "store", n_rows)
        dictionary = make_dictionary(store)

        def analyses() -> float:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                start = time.process_time()
                parts.append(analyze_all(dictionary, store, corpus, Path(folder)))
                return time.process_time() - start

        encode = lambda: cpu_seconds(lambda: run_pass(dictionary, store, {}, batch_size=BATCH))  # noqa: E731
        timings = collect_rounds({"analyses": analyses, "encode": encode}, rounds, warmup=0)
    case = f"{N_SOURCES} x {D_MODEL}, {N_LATENTS:,} latents, l0 {parts[0]['l0']:.0f}, {n_rows:,} tokens"
    lines = [_line(case, "all four, encoding and writing included / encode", timings, GOAL)]
    for name in (each for each in parts[0] if each != "l0"):
        part = {**timings, "analyses": Timing(tuple(each[name] for each in parts))}
        lines.append(_line(case, f"of it: {name} / encode", part, None))
    return lines, parts


def _line(case: str, what: str, timings: dict[str, Timing], goal: float | None) -> Line:
    return Line(
        question="one_pass",
        case=case,
        measure=what,
        ratio=ratio(timings["analyses"], timings["encode"]),
        seconds={name: timing.median for name, timing in timings.items()},
        goal=goal,
    )


def measure(full: bool) -> list[Line]:
    """The lines of this question."""
    return compare(262_144, 3 if full else 1)[0]


def main() -> None:
    """Print the parts of one size."""
    from benchmarks.timing import format_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print(format_table(compare(options.rows, options.rounds)[0]))


if __name__ == "__main__":
    main()
