"""Products of the gradients of single tokens' losses: of all pairs, and of new tokens with landmarks.

How gradients are made is in `gradients/stream.py`, what is added up of them in `gradients/sums.py`.

Source: quanta-discovery, similarity_matrix_v1 (what is computed); ghost products, Goodfellow 2015 (the outer products).
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ontogeny.errors import AnalysisError
from ontogeny.quanta.config import TABLES, GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gradients.products import mirror
from ontogeny.quanta.gradients.question import GradientQuestion
from ontogeny.quanta.gradients.samples import Samples
from ontogeny.quanta.gradients.sketch import SketchSums
from ontogeny.quanta.gradients.sums import SQUARES, CrossSums, PairSums
from ontogeny.quanta.similarity import CrossGram, GradientGram, SketchError
from ontogeny.snapshots.hooks import HookedModel

CHECKED_TOKENS = 32
"""Tokens whose sketched products are compared with exact ones."""


def compute_gram(
    model: HookedModel,
    documents: Documents,
    tokens: Int[np.ndarray, " token"],
    config: GramConfig | None = None,
    scratch: Path | None = None,
    optimizer_state: Path | None = None,
) -> GradientGram:
    """Products of the gradients of the losses of tokens, given by canonical index, in their documents.

    With `scratch`, a folder that the caller clears, a killed call goes on behind the last blocks that were done.
    `optimizer_state`: a safetensors file with Adam's `exp_avg_sq.NAME`, for whitening by it.
    Errors: AnalysisError for a group without parameters, and for a memory budget in which not one row of a matrix fits.
    """
    config = GramConfig() if config is None else config
    tokens = np.asarray(tokens)
    question = GradientQuestion.of(model, documents, config, tokens, scratch, optimizer_state)
    samples = Samples(documents, [tokens], config.batch_tokens)
    forms = question.forms(samples)
    device, by_layer = model.device, config.by_layer
    if config.sketch is None:
        pairs = PairSums(len(samples), question.storage, question.accumulate, device, by_layer, forms)
        question.answer(samples, pairs, "pairs")
        return GradientGram(tokens, _in_order(pairs.values, samples))
    sketches = SketchSums(len(samples), config.sketch, device, question.wide, by_layer, forms)
    question.answer(samples, sketches, "sketches")
    for name, sketch in sketches.values.items():
        sketches.values[name] = sketch @ sketch.T
    gram = GradientGram(tokens, _in_order(sketches.values, samples))
    return GradientGram(tokens, gram.products, _measure_error(question, gram))


def compute_cross_gram(
    model: HookedModel,
    documents: Documents,
    tokens: Int[np.ndarray, " token"],
    landmarks: Int[np.ndarray, " landmark"],
    config: GramConfig | None = None,
    scratch: Path | None = None,
    optimizer_state: Path | None = None,
) -> CrossGram:
    """Products of the gradients of tokens with those of landmarks, both given by canonical index.

    The landmarks' gradients are made in the same stream; whitening without an optimizer's state is taken from them.
    Arguments and errors: as `compute_gram`; AnalysisError for groups of embedding tables, which have pairs only.
    """
    config = GramConfig() if config is None else config
    tokens, landmarks = np.asarray(tokens), np.asarray(landmarks)
    return answer_cross(
        GradientQuestion.of(model, documents, config, landmarks, scratch, optimizer_state), tokens, landmarks
    )


def answer_cross(
    question: GradientQuestion,
    tokens: Int[np.ndarray, " token"],
    landmarks: Int[np.ndarray, " landmark"],
    together: bool = False,
) -> CrossGram:
    """`compute_cross_gram` of a question that several sets of tokens have in common; `together`: one sum of all groups.

    Of tokens nothing is kept but their products: gradients stream by those of the landmarks.
    """
    config, device = question.config, question.model.device
    tables = [group for group in question.groups if group in TABLES]
    if tables:
        raise AnalysisError(
            f"parameter group {tables[0]!r} has products of all pairs only; leave it out to compare with landmarks."
        )
    samples = Samples(question.documents, [landmarks, tokens], config.batch_tokens)
    forms = question.forms(samples)
    columns, rows = samples.sets
    if config.sketch is None:
        settings = (len(samples), question.storage, question.accumulate, device, config.by_layer, forms)
        cross = CrossSums(columns, rows, together, *settings)
        question.answer(samples, cross, "cross")
        values = cross.values
    else:
        sketches = SketchSums(len(samples), config.sketch, device, question.wide, config.by_layer, forms)
        question.answer(samples, sketches, "sketches")
        values = {name: each[rows] @ each[columns].T for name, each in sketches.values.items()}
        values |= {f"{SQUARES}:{name}": each.square().sum(dim=1) for name, each in sketches.values.items()}
    return _cross_gram(tokens, landmarks, samples, values)


def _cross_gram(tokens: np.ndarray, landmarks: np.ndarray, samples: Samples, values: dict[str, Tensor]) -> CrossGram:
    columns, rows = samples.sets
    by_token, by_landmark = samples.given(rows), samples.given(columns)
    products, token_squares, landmark_squares = {}, {}, {}
    for name in sorted(name for name in values if not name.startswith(SQUARES)):
        squares = values[f"{SQUARES}:{name}"].cpu()
        products[_key(name)] = values[name].cpu()[by_token][:, by_landmark].numpy()
        token_squares[_key(name)] = squares[rows][by_token].numpy()
        landmark_squares[_key(name)] = squares[columns][by_landmark].numpy()
    return CrossGram(tokens, landmarks, products, token_squares, landmark_squares)


def _in_order(triangles: dict[str, Tensor], samples: Samples) -> dict[tuple[str, int | None], np.ndarray]:
    """Whole matrices in the order in which tokens were given; each triangle is dropped when it is done."""
    back = samples.given(samples.sets[0])
    products = {}
    for name in sorted(triangles):
        products[_key(name)] = mirror(triangles.pop(name).cpu())[back[:, None], back].numpy()
    return products


def _measure_error(question: GradientQuestion, gram: GradientGram) -> SketchError:
    """Against exact products of tokens spread evenly over those that were given."""
    chosen = np.unique(np.linspace(0, len(gram.tokens) - 1, CHECKED_TOKENS).round().astype(np.int64))
    samples = Samples(question.documents, [gram.tokens[chosen]], question.config.batch_tokens)
    forms = question.forms(samples)
    pairs = PairSums(len(samples), question.wide, torch.float64, question.model.device, forms=forms)
    question.answer(samples, pairs, "checked")
    exact = GradientGram(gram.tokens[chosen], _in_order(pairs.values, samples))
    assert question.config.sketch is not None
    sketched = gram.similarity()[np.ix_(chosen, chosen)]
    return SketchError.compare(question.config.sketch, exact.similarity(), sketched)


def _key(name: str) -> tuple[str, int | None]:
    group, _, layer = name.partition("@")
    return group, int(layer) if layer else None
