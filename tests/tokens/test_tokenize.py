import json
from pathlib import Path
from typing import Any

import pytest

from ontogeny.errors import CorpusError
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.rules.config import RulesConfig
from ontogeny.tokens.tokenize import iter_token_documents
from ontogeny.tokens.vocabulary import train_tokenizer


def test_the_end_of_text_token_separates_documents(tmp_path: Path, letters: Any) -> None:
    (tmp_path / "a.txt").write_text("a b <|endoftext|> c d<|endoftext|>e")
    documents = list(iter_token_documents(TextSourceConfig(kind="files", path=str(tmp_path / "a.txt")), letters))
    assert [document.tokens.tolist() for document in documents] == [[1, 2], [3, 4], [5]]
    own = TextSourceConfig(kind="files", path=str(tmp_path / "a.txt"), document_separator="<|endoftext|> c ")
    assert [document.tokens.tolist() for document in iter_token_documents(own, letters)] == [[1, 2], [4, 0, 5]]


def test_a_bos_that_the_template_renders_is_taken_off(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["abc"], vocab_size=257)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": [{"role": "user", "content": "hi"}]}))
    source = TextSourceConfig(
        kind="files", path=str(tmp_path / "a.jsonl"), chat=True, template="{{ bos_token }}{{ messages[0].content }}!"
    )
    (document,) = iter_token_documents(source, tokenizer)
    assert tokenizer.decode(document.tokens) == "hi!"
    assert document.masks["user"].tolist() == [True, True, False]


def test_an_empty_conversation_is_an_empty_document(tmp_path: Path, letters: Any) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": []}\n')
    source = TextSourceConfig(kind="files", path=str(tmp_path / "a.jsonl"), chat=True, template="{{ messages }}")
    assert [len(document) for document in iter_token_documents(source, letters)] == [0]


@pytest.mark.parametrize("template", ["{{ messages[0].content + 3 }}", "{{ messages[1].content }}", "{% for %}"])
def test_a_template_that_breaks_is_one_sentence(tmp_path: Path, letters: Any, template: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": [{"role": "user", "content": "a"}]}\n')
    source = TextSourceConfig(kind="files", path=str(tmp_path / "a.jsonl"), chat=True, template=template)
    with pytest.raises(CorpusError, match="the chat template refuses"):
        next(iter_token_documents(source, letters))


def test_planted_rules_need_their_own_tokenizer() -> None:
    source = TextSourceConfig(kind="rules", rules=RulesConfig(n_documents=2))
    with pytest.raises(CorpusError, match="needs the tokenizer of a family"):
        next(iter_token_documents(source, train_tokenizer(["abc"], vocab_size=257)))
