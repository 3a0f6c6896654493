"""Tokens of held-out books, as a small model family reads them."""

import numpy as np

from ontogeny.quanta.documents import Documents
from paths import BOOKS, BOOKS_TEXT


def repeated_documents(n_tokens: int = 90) -> tuple[Documents, np.ndarray]:
    """(documents of 64 tokens, canonical indices of tokens of five common ids, as many of each)."""
    from transformers import AutoTokenizer

    ids = np.array(AutoTokenizer.from_pretrained(BOOKS / "step3000")(BOOKS_TEXT.read_text()[:80_000])["input_ids"])
    documents = Documents.of([ids[start : start + 64] for start in range(0, len(ids) - 64, 64)])
    predicted = documents.predicted(np.arange(documents.n_predicted))
    common = np.argsort(-np.bincount(predicted))[:5]
    chosen = [np.flatnonzero(predicted == each)[: n_tokens // 5] for each in common]
    return documents, np.sort(np.concatenate(chosen))
