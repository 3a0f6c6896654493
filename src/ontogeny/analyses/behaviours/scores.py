"""What every snapshot says of every pair: one snapshot at a time, each finished one in scratch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save
from torch import Tensor

from ontogeny.analyses.behaviours.config import BehavioursConfig
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.errors import AnalysisError
from ontogeny.interventions.prompts import Prompts, clean_prompts, compute_metric, measure_prompts, patch_prompts
from ontogeny.interventions.sentences import score_sentences, tokenize_sentences
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.pairs import PairTokens
from ontogeny.types import HookPoint
from ontogeny.workspace import write_bytes


@dataclass(frozen=True)
class PairScores:
    """One behaviour in one snapshot. `gain` [pair]: how much likelier the right thing is, nats; `blind` [pair]: how
    often the right answer is the likelier one after prefixes of other clusters, NaN with one answer; `sentence` [pair]:
    log P of the right sentence less the wrong one's, NaN without sentences; `activations` [token d_model]."""

    gain: Float[np.ndarray, "pair"]
    blind: Float[np.ndarray, "pair"]
    sentence: Float[np.ndarray, "pair"]
    activations: Float[np.ndarray, "token d_model"]


def score_series(
    inputs: AnalysisInputs, config: BehavioursConfig, behaviours: Mapping[str, PairTokens], hook_point: HookPoint
) -> dict[str, list[PairScores]]:
    """Behaviour -> scores of every snapshot of the series, in order."""
    found: dict[str, list[PairScores]] = {name: [] for name in behaviours}
    for name, pairs in behaviours.items():
        if pairs.patch is None and bool((pairs.wrong < 0).any()):
            raise AnalysisError(
                f"behaviour {name!r} has pairs with one answer and no patch prefix, so that nothing is compared; give "
                "them a wrong answer or a patch prefix."
            )
    digest = hashlib.sha256(repr((config.model_dump_json(), sorted(behaviours), str(hook_point))).encode())
    for pairs in behaviours.values():
        digest.update(pairs.clean.tobytes())
    for index in range(len(inputs.series)):
        file = inputs.scratch / f"{index:04d}.{digest.hexdigest()[:12]}.safetensors"
        if not file.is_file():
            model = inputs.series.open(index, device=inputs.device)
            tensors: dict[str, np.ndarray] = {}
            for name, pairs in behaviours.items():
                scores = _score(model, pairs, inputs.series.tokenizer, config, hook_point)
                tensors |= {f"{name}/{key}": value for key, value in vars(scores).items()}
            write_bytes(file, save(tensors))
        kept = load_file(file)
        for name in behaviours:
            found[name].append(PairScores(*(kept[f"{name}/{key}"] for key in PairScores.__dataclass_fields__)))
    return found


def _score(
    model: HookedModel, pairs: PairTokens, tokenizer: Any, config: BehavioursConfig, hook_point: HookPoint
) -> PairScores:
    largest = max(int(each.max()) for each in (pairs.clean, pairs.right, pairs.wrong))
    if largest >= model.vocab_size:
        raise AnalysisError(
            f"token id {largest} of the pairs is none of this model's {model.vocab_size}; the tokenizer is another's."
        )
    prompts, patch = clean_prompts(pairs), patch_prompts(pairs)
    chosen = choose_cells(prompts, config.similarity_tokens, config.seed)
    votes = BlindVotes(pairs, config.seed)
    metric, activations = _run(model, prompts, chosen, hook_point, config.batch, votes)
    gain = -metric
    if patch is not None and bool((prompts.wrong < 0).any()):
        # One word after two prefixes: it must be likelier after the clean one.
        gain = np.where(pairs.wrong >= 0, gain, gain + measure_prompts(model, patch, config.batch).double().numpy())
    return PairScores(gain, votes.share, _score_sentences(model, pairs, tokenizer, config), activations)


class BlindVotes:
    """The control of a behaviour: the answers of every pair after prefixes of other clusters, 64 of them at most.

    A model that does not look at what decides has the same accuracy there as after the pairs' own prefixes.
    """

    most = 64

    def __init__(self, pairs: PairTokens, seed: int) -> None:
        self.pairs = pairs
        self.chosen = np.zeros(len(pairs), dtype=bool)
        self.chosen[np.random.default_rng(seed).permutation(len(pairs))[: self.most]] = True
        self.sums, self.counts = np.zeros(len(pairs)), np.zeros(len(pairs))

    def add(
        self, prompts: Prompts, span: Int[Tensor, " prompt"], logits: Float[Tensor, "prompt position vocab"]
    ) -> None:
        """Take the chosen ones among prompts `span` of the pairs."""
        right, wrong = (torch.from_numpy(each).to(logits.device) for each in (self.pairs.right, self.pairs.wrong))
        for row, pair in enumerate(span.tolist()):
            if self.chosen[pair]:
                final = logits[row, prompts.last[row]].float()
                margin = (final[right] - final[wrong.clamp(min=0)]).cpu().numpy()
                other = self.pairs.cluster != self.pairs.cluster[pair]
                self.sums += np.where(other, (margin > 0) + 0.5 * (margin == 0), 0.0)
                self.counts += other

    @property
    def share(self) -> Float[np.ndarray, "pair"]:
        """[pair]: the share of other prefixes after which its right answer is the likelier one (ties count half)."""
        known = (self.pairs.wrong >= 0) & (self.counts > 0)
        return np.divide(self.sums, self.counts, out=np.full(len(self.sums), np.nan), where=known)


def choose_cells(prompts: Prompts, count: int, seed: int) -> Int[np.ndarray, "cell 2"]:
    """At most `count` (prompt, position) drawn of those that hold a token, the first of each prompt left out."""
    occupied = prompts.occupied.numpy().copy()
    occupied[np.arange(len(occupied)), occupied.argmax(axis=1)] = False
    cells = np.argwhere(occupied)
    drawn = np.random.default_rng(seed).permutation(len(cells))[:count]
    return np.asarray(cells[np.sort(drawn)])


@torch.no_grad()
def _run(
    model: HookedModel,
    prompts: Prompts,
    cells: Int[np.ndarray, "cell 2"],
    hook_point: HookPoint,
    batch: int,
    votes: BlindVotes,
) -> tuple[Float[np.ndarray, "pair"], Float[np.ndarray, "cell d_model"]]:
    metric, kept = [], [np.zeros((0, model.d_model), dtype=np.float32)]
    for span in torch.arange(len(prompts)).split(batch):
        some = prompts.take(span).to(model.device)
        output = model.forward(some.tokens, some.attention, read=[hook_point])
        metric.append(compute_metric(output.logits, some).double().cpu().numpy())
        votes.add(some, span, output.logits)
        here = cells[(cells[:, 0] >= int(span[0])) & (cells[:, 0] <= int(span[-1]))] - [int(span[0]), 0]
        values = output.activations[hook_point].float().cpu().numpy()
        kept.append(values[here[:, 0], here[:, 1]])
    return np.concatenate(metric), np.concatenate(kept)


def _score_sentences(
    model: HookedModel, pairs: PairTokens, tokenizer: Any, config: BehavioursConfig
) -> Float[np.ndarray, "pair"]:
    out = np.full(len(pairs), np.nan)
    places = [at for at, pair in enumerate(pairs.pairs) if pair.sentences is not None]
    if not config.sentences or not places:
        return out
    sides = ([pair.sentences[side] for pair in pairs.pairs if pair.sentences is not None] for side in (0, 1))
    good, bad = (score_sentences(model, tokenize_sentences(side, tokenizer), config.batch) for side in sides)
    out[places] = good - bad
    return out
