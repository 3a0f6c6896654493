"""What is asked of the models: every snapshot is opened once, and what it said lies in the scratch folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.torch import save_file

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.meaning.config import MeaningConfig
from ontogeny.analyses.meaning.logits import LogitEffects, compute_logit_effects, read_final_residual
from ontogeny.analyses.meaning.span import Contexts, encode_contexts, read_contexts
from ontogeny.interventions.sources import source_positions
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.tensor_file import map_tensors
from ontogeny.types import Source
from ontogeny.workspace import disk_errors


@dataclass(frozen=True)
class Asked:
    """What the snapshots said: logit effects by source written, and the values [context] of truncated contexts."""

    effects: list[LogitEffects]
    values: Float[np.ndarray, " context"]


def ask_snapshots(inputs: AnalysisInputs, config: MeaningConfig, contexts: Contexts | None) -> Asked:
    """Open the snapshots one at a time, as far as they have not been asked before a kill."""
    dictionary = inputs.dictionary
    writes = list(inputs.sources) if config.top else []
    known = inputs.held_out.sources
    reads = [known[place] for place in source_positions(known, dictionary.sources_in)] if contexts is not None else []
    for index, label in enumerate(inputs.series.labels):
        effects = {place: source for place, source in enumerate(writes) if source.snapshot.label == label}
        effects = {place: each for place, each in effects.items() if not _effects_file(inputs.scratch, place).is_file()}
        wanted = {place: source for place, source in enumerate(reads) if source.snapshot.label == label}
        wanted = {place: each for place, each in wanted.items() if not _contexts_file(inputs.scratch, place).is_file()}
        if not effects and not wanted:
            continue
        model = inputs.series.open(index, inputs.device, "float32" if inputs.device.startswith("cpu") else "bfloat16")
        if effects:
            _ask_effects(inputs, config, model, label, list(effects))
        if wanted and contexts is not None:
            _ask_contexts(inputs, config, model, contexts, wanted)
        del model
    found = [LogitEffects.load(_effects_file(inputs.scratch, place)) for place in range(len(writes))]
    if contexts is None:
        return Asked(found, np.zeros(0))
    x = [map_tensors(_contexts_file(inputs.scratch, place))["x"] for place in range(len(reads))]
    return Asked(found, encode_contexts(dictionary.to(inputs.device).eval(), x, contexts))


def lead_token(inputs: AnalysisInputs) -> int | None:
    """The token that text begins with: the corpus's BOS, else the tokenizer's BOS or end of text, else none."""
    corpus = inputs.corpus
    rows = corpus.rows("held_out")[:64]
    first = (np.asarray(corpus.position[rows]) == -1) & (np.asarray(corpus.document[rows]) >= 0)
    if first.any():
        return int(np.asarray(corpus.tokens[rows])[first][0])
    tokenizer = inputs.series.tokenizer
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def _effects_file(scratch: Path, place: int) -> Path:
    return scratch / f"logits.{place:03d}.safetensors"


def _contexts_file(scratch: Path, place: int) -> Path:
    return scratch / f"contexts.{place:03d}.safetensors"


def _ask_effects(
    inputs: AnalysisInputs, config: MeaningConfig, model: HookedModel, label: str, places: list[int]
) -> None:
    dictionary, rows = inputs.dictionary, inputs.corpus.rows("held_out")[: config.scale_rows]
    residual = read_final_residual(model, inputs.corpus, rows, label)
    vocabulary = min(len(inputs.series.tokenizer), model.vocab_size)
    for place in places:
        W_dec = dictionary.W_dec.detach()[:, place].float() / dictionary.scale_out[place]
        compute_logit_effects(model, W_dec, residual, config.top, vocabulary).save(_effects_file(inputs.scratch, place))


def _ask_contexts(
    inputs: AnalysisInputs, config: MeaningConfig, model: HookedModel, contexts: Contexts, wanted: dict[int, Source]
) -> None:
    points = list(dict.fromkeys(source.hook_point for source in wanted.values()))
    label = next(iter(wanted.values())).snapshot.label
    lead = lead_token(inputs)
    found = read_contexts(model, inputs.corpus, contexts, points, label, lead=lead, batch=config.model_batch)
    for place, source in wanted.items():
        path = _contexts_file(inputs.scratch, place)
        with disk_errors(path):
            save_file({"x": found[source.hook_point].contiguous()}, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
