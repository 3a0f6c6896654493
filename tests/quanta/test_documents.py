"""Documents: the canonical index of cut documents, and documents put together from rows."""

from dataclasses import replace

import numpy as np
import pytest

from ontogeny.errors import AnalysisError
from ontogeny.quanta.documents import Documents
from ontogeny.tokens.corpus import Corpus
from paths import requires_shared
from quanta.golden_quanta import golden_case, golden_documents


def test_the_index_skips_empty_documents_and_counts_from_the_second_token() -> None:
    documents = Documents.of([np.arange(3), np.arange(0), np.arange(1), np.arange(9)], max_length=4)
    assert documents.lengths.tolist() == [3, 0, 1, 4] and documents.n_predicted == 5
    document, position = documents.locate(np.arange(5))
    assert document.tolist() == [0, 0, 3, 3, 3] and position.tolist() == [1, 2, 1, 2, 3]
    assert documents.predicted(np.arange(5)).tolist() == [1, 2, 1, 2, 3]


def test_documents_of_a_corpus_are_its_rows_and_its_own_index() -> None:
    corpus = Corpus.from_tokens(np.arange(12).reshape(3, 4), lengths=np.array([4, 2, 3]))
    documents = Documents.of_corpus(corpus)
    assert [documents.document(each).tolist() for each in range(3)] == [[0, 1, 2, 3], [4, 5], [8, 9, 10]]
    real = corpus.index >= 0
    assert np.array_equal(documents.predicted(corpus.index[real]), corpus.tokens[real])
    corpus.position[0, 2] = 7
    with pytest.raises(AnalysisError, match="document 0 of the corpus has a gap"):
        Documents.of_corpus(corpus)


def test_a_snapshot_reads_what_the_corpus_names_for_it() -> None:
    corpus = Corpus.from_tokens(np.arange(12).reshape(3, 4), lengths=np.array([4, 2, 3]))
    corpus = replace(corpus, replacements={"base": {1: 5, 5: 1, 9: 0}})
    documents = Documents.of_corpus(corpus)
    read = documents.read_by(corpus, "base")
    instead = Documents.of_corpus(replace(corpus, tokens=corpus.input_tokens(corpus.rows(), "base")))
    assert np.array_equal(read.tokens, instead.tokens) and not np.array_equal(read.tokens, documents.tokens)
    assert np.array_equal(read.offsets, documents.offsets)
    assert documents.read_by(corpus, "chat") is documents


@requires_shared
def test_the_published_index_table() -> None:
    _, tensors = golden_case()
    documents = golden_documents(tensors)
    assert np.array_equal(documents.starts, tensors["starting_indexes"].numpy())
    index = np.arange(documents.n_predicted)
    document, position = documents.locate(index)
    table = np.stack([document, position - 1, position, documents.predicted(index)], axis=1)
    assert np.array_equal(table, tensors["canonical_table"].numpy())
