"""How far back a latent looks: its value again with only the last 1, 2, 4, ... tokens of the context left."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.documents import Documents
from ontogeny.latents.sampling import choose_strongest
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint

ENCODED = 512
"""Contexts encoded at a time."""


@dataclass(frozen=True)
class Contexts:
    """Truncated contexts of examples: context i is the last `lengths[i]` tokens of a row up to `cells[i]`.

    `examples` [context] says of which example it is; its last context is the whole row up to it. `latents` [example].
    """

    latents: Int[np.ndarray, " example"]
    examples: Int[np.ndarray, " context"]
    rows: Int[np.ndarray, " context"]
    cells: Int[np.ndarray, " context"]
    lengths: Int[np.ndarray, " context"]

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class Span:
    """Of one latent: the shortest context that brings its activation back, over its examples.

    `log2` is the mean of log2(length), `se` its standard error over examples; `trigger`: how many tokens back the token
    whose arrival brings most of the activation lies at least (median); `censored`: examples for which no context up to
    the longest was enough, counted with the length of their whole row. `recovery` [length]: mean share recovered, with
    its standard error and the number of examples.
    """

    n_examples: int
    log2: float
    se: float
    trigger: float
    censored: int
    recovery: Float[np.ndarray, "length 3"]


def plan_contexts(
    codes: CodeCache, documents: Documents, latents: Int[np.ndarray, " chosen"], n_examples: int, lengths: list[int]
) -> Contexts:
    """The strongest tokens of each latent, one a document, each with every shorter context and the whole row."""
    whose, rows, cells = [], [], []
    for latent in latents.tolist():
        chosen = choose_strongest(codes.block(latent, latent + 1), documents, n_examples).tokens
        whose.append(np.full(len(chosen), latent))
        rows.append(codes.columns.row[chosen])
        cells.append(codes.columns.position[chosen])
    row, cell = (np.concatenate(each).astype(np.int64) for each in (rows, cells))
    grid = np.concatenate([np.tile(lengths, (len(row), 1)), cell[:, None] + 1], axis=1)
    example, place = np.nonzero((grid < cell[:, None] + 1) | (np.arange(grid.shape[1]) == len(lengths)))
    return Contexts(np.concatenate(whose), example, row[example], cell[example], grid[example, place])


@torch.no_grad()
def read_contexts(
    model: HookedModel,
    corpus: Corpus,
    contexts: Contexts,
    hook_points: list[HookPoint],
    label: str,
    *,
    lead: int | None,
    batch: int,
) -> dict[HookPoint, Float[Tensor, "context d_model"]]:
    """Activations of a snapshot at the last token of every context.

    A truncated context begins as rows do: with the row's own BOS, else with `lead`, the token that stands between
    documents, so that no token of the text is read as the first one. A whole row is read as it is.
    """
    read = {point: torch.zeros(len(contexts), model.d_model) for point in hook_points}
    for length in np.unique(contexts.lengths):
        for whole in (False, True):
            same = (contexts.lengths == contexts.cells + 1) == whole
            chosen = np.flatnonzero((contexts.lengths == length) & same)
            for start in range(0, len(chosen), batch):
                places = chosen[start : start + batch]
                tokens = _truncate(corpus, contexts, places, label, None if whole else lead)
                found = model.read(torch.from_numpy(tokens).to(model.device), hook_points)
                for point in hook_points:
                    read[point][torch.from_numpy(places)] = found[point][:, -1].float().cpu()
    return read


def _truncate(
    corpus: Corpus, contexts: Contexts, places: Int[np.ndarray, " chosen"], label: str, lead: int | None
) -> Int[np.ndarray, "chosen width"]:
    """Token ids of contexts of one length, behind `lead` where there is one."""
    ids = corpus.input_tokens(contexts.rows[places], label).astype(np.int64)
    length = int(contexts.lengths[places[0]])
    columns = contexts.cells[places][:, None] + np.arange(1 - length, 1)
    tokens = np.take_along_axis(ids, columns, axis=1)
    return tokens if lead is None else np.concatenate([np.full((len(places), 1), lead), tokens], axis=1)


@torch.no_grad()
def encode_contexts(
    dictionary: Crosscoder, x: list[Float[np.ndarray, "context d_model"]], contexts: Contexts
) -> Float[np.ndarray, " context"]:
    """The value of each context's own latent, from the activations of all sources read."""
    wanted = torch.from_numpy(contexts.latents[contexts.examples]).to(dictionary.W_enc.device)
    values = np.zeros(len(contexts))
    for start in range(0, len(contexts), ENCODED):
        block = np.stack([each[start : start + ENCODED] for each in x], axis=1)
        codes = dictionary.encode(torch.from_numpy(block).to(dictionary.W_enc.device)).sparse()
        mine = codes.indices == wanted[start : start + ENCODED][codes.tokens]
        values[start + codes.tokens[mine].cpu().numpy()] = codes.values[mine].double().cpu().numpy()
    return values


def summarise_spans(
    contexts: Contexts, values: Float[np.ndarray, " context"], lengths: list[int], share: float
) -> dict[int, Span]:
    """The span of every latent of the contexts, over the examples on whose whole row it is on again."""
    n_examples = len(contexts.latents)
    whole = np.zeros(n_examples)
    full = contexts.lengths == contexts.cells + 1
    whole[contexts.examples[full]] = values[full]
    recovered = np.full((n_examples, len(lengths)), np.nan)
    size = np.zeros(n_examples, dtype=np.int64)
    size[contexts.examples] = contexts.cells + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = values / whole[contexts.examples]
    for place, length in enumerate(lengths):
        here = (contexts.lengths == length) & ~full
        recovered[contexts.examples[here], place] = ratio[here]
        # A context longer than the text before the example is the whole row.
        recovered[(size <= length) & (whole > 0), place] = 1.0
    enough = recovered >= share
    spans = np.where(enough.any(axis=1), np.array(lengths)[enough.argmax(axis=1)], size)
    gains = np.diff(np.concatenate([np.zeros((n_examples, 1)), recovered, np.ones((n_examples, 1))], axis=1), axis=1)
    starts = np.concatenate([[0], np.array(lengths[1:]) // 2, [lengths[-1]]])
    triggers = starts[np.nan_to_num(gains, nan=-np.inf).argmax(axis=1)]
    found = {}
    for latent in np.unique(contexts.latents):
        mine = np.flatnonzero((contexts.latents == latent) & (whole > 0))
        if len(mine) == 0:
            continue
        logs = np.log2(np.minimum(spans[mine], size[mine]))
        found[int(latent)] = Span(
            n_examples=len(mine),
            log2=float(logs.mean()),
            se=_standard_error(logs),
            trigger=float(np.median(triggers[mine])),
            censored=int((~enough[mine].any(axis=1)).sum()),
            recovery=np.array([[column.mean(), _standard_error(column), len(mine)] for column in recovered[mine].T]),
        )
    return found


def _standard_error(values: Float[np.ndarray, " example"]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
