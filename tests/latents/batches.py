"""Batches of a pass without a pass: a dictionary's codes of one's own activations."""

import numpy as np
import torch
from torch import Tensor

from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.batch import LatentBatch


def latent_batch(dictionary: Crosscoder, x: Tensor, first: int = 0, document: np.ndarray | None = None) -> LatentBatch:
    """The batch of raw activations [token source d_model]; every ten tokens are a document unless told otherwise."""
    place = np.arange(first, first + len(x))
    columns = TokenColumns(
        token=np.zeros(len(x), np.int64),
        document=place // 10 if document is None else document,
        position=place % 10,
        row=place // 10,
        text_source=np.zeros(len(x), np.int64),
    )
    with torch.no_grad():
        codes = dictionary.eval().encode(x).sparse()
        return LatentBatch(dictionary, codes, columns, first, dictionary.normalise_target(x))
