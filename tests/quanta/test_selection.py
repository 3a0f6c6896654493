"""Filters and selection: brute force, the published choice, what is said when too few are left."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.errors import AnalysisError
from ontogeny.quanta.config import TokenChoice
from ontogeny.quanta.copies import COPIES, mark_copies
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.selection import select_tokens
from paths import requires_shared
from quanta.golden_quanta import golden_case, golden_documents


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), min_size=1, max_size=4), st.sampled_from([1, 2, 3]))
def test_copies_are_what_a_search_through_the_document_finds(texts: list[list[int]], n: int) -> None:
    expected = []
    for text in texts:
        for end in range(1, len(text)):
            gram = text[end - n + 1 : end + 1] if end >= n - 1 else None
            earlier = [text[at - n + 1 : at + 1] for at in range(n - 1, end)]
            expected.append(gram is not None and gram in earlier)
    assert mark_copies(Documents.of([np.array(text, dtype=np.int64) for text in texts]), n).tolist() == expected


def choose(losses: list[float], **choice: object) -> np.ndarray:
    copies = {"trigram": np.arange(len(losses)) % 3 == 0}
    predicted = np.arange(len(losses)) % 5 // 4
    return select_tokens(np.array(losses, np.float32), copies, predicted, TokenChoice.model_validate(choice))


def test_every_kth_below_the_threshold_and_not_copied() -> None:
    losses = [0.0, 0.05, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert choose(losses, every=2, n_tokens=2).tolist() == [1, 5]
    assert choose(losses, every=1, n_tokens=5, leave_out=()).tolist() == [0, 1, 3, 4, 5]


def test_too_few_tokens_are_counted_filter_by_filter() -> None:
    message = "7 tokens were asked for: 8 of 9 are below 0.1 nats .0.144 bits., 5 of these are no copied trigram, "
    with pytest.raises(AnalysisError, match=message + "one in 1 of these leaves 5"):
        choose([0, 0, 1, 0, 0, 0, 0, 0, 0], every=1, n_tokens=7)


def test_a_filter_of_another_corpus_is_refused() -> None:
    with pytest.raises(AnalysisError, match="the trigram filter marks 3 tokens and there are 4 losses"):
        select_tokens(np.zeros(4, np.float32), {"trigram": np.zeros(3, bool)}, np.zeros(4, int), TokenChoice())


def test_by_token_takes_evenly_of_every_token_id_as_long_as_it_lasts() -> None:
    chosen = choose([0.0] * 50, every=1, n_tokens=16, by="token", leave_out=())
    assert (chosen % 5 // 4).sum() == 8 and len(set(chosen.tolist())) == 16
    chosen = choose([0.0] * 50, every=1, n_tokens=30, by="token", leave_out=())
    assert (chosen % 5 // 4).sum() == 10


@requires_shared
def test_the_published_filters_and_selections() -> None:
    settings, tensors = golden_case()
    documents = golden_documents(tensors)
    copies = {name: mark_copies(documents, n) for name, n in COPIES.items()}
    assert np.array_equal(copies["trigram"], tensors["trigram_filter"].numpy())
    assert np.array_equal(copies["bigram"], tensors["bigram_filter"].numpy())
    for run, leave_out in (("A", ("trigram",)), ("B", ())):
        published = settings["runs"][run]
        choice = TokenChoice(
            below=published["loss_threshold_bits"] * np.log(2), leave_out=leave_out, every=published["skip"],
            n_tokens=published["num_tokens"],
        )  # fmt: skip
        predicted = documents.predicted(np.arange(documents.n_predicted))
        chosen = select_tokens(tensors["losses"].numpy(), copies, predicted, choice)
        assert np.array_equal(chosen, tensors[f"{run}.token_idxs"].numpy())
