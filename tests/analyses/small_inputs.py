"""Inputs of an analysis without a run: a random dictionary, an ordered store, their code cache."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latents.small import corpus, dictionary, store
from ontogeny.analyses import AnalysisInputs
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from ontogeny.results import Result, load_result, save_result
from ontogeny.tokens.corpus import Corpus
from ontogeny.tokens.vocabulary import closed_tokenizer


def inputs(
    folder: Path, kind: str = "batchtopk", gate: str = "shared", text: Corpus | None = None, batch_size: int = 33
) -> AnalysisInputs:
    """What the pipeline would open."""
    text = corpus() if text is None else text
    made, held_out = dictionary(kind, gate), store(folder / "store", text)
    writer = CodeCacheWriter(folder / f"codes{batch_size}", made, "d1")
    run_pass(made, held_out, {}, batch_size=batch_size, cache=writer)
    words = [f"w{number}" for number in range(1, 64)]
    series: Any = SimpleNamespace(tokenizer=closed_tokenizer(words))
    return AnalysisInputs(made, text, held_out, series, None, folder, "cpu", writer.finish())


def saved(result: Result, folder: Path) -> Result:
    """The result as it comes back from disk, its streams as whole tables."""
    save_result(result, folder)
    return load_result(folder)
