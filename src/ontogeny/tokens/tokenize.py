"""Documents as tokens, each token with the masks and labels that came with its text."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ontogeny.errors import CorpusError
from ontogeny.tokens.chat import tokenize_chat
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.text_sources import Document, iter_documents

BATCH = 256  # documents tokenized together


@dataclass(frozen=True)
class TokenDocument:
    """One document's tokens [position], without BOS, with masks (bool) and labels (any dtype) of the same length."""

    tokens: np.ndarray
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, start: int, stop: int | None = None) -> "TokenDocument":
        """The tokens start … stop with what belongs to them."""
        part = slice(start, stop)
        return TokenDocument(
            self.tokens[part],
            {name: mask[part] for name, mask in self.masks.items()},
            {name: label[part] for name, label in self.labels.items()},
        )


def iter_token_documents(source: TextSourceConfig, tokenizer: Any) -> Iterator[TokenDocument]:
    """A source's documents as tokens, in order; a BOS that a chat template renders itself is taken off."""
    documents = iter_documents(source, separator=tokenizer.eos_token)
    if source.chat:
        for document in documents:
            yield _chat_document(document, source, tokenizer)
        return
    while batch := list(itertools.islice(documents, BATCH)):
        encoded = tokenizer([document.text for document in batch], add_special_tokens=False, verbose=False)
        for document, ids in zip(batch, encoded["input_ids"]):
            tokens = np.asarray(ids, dtype=np.int32)
            for label in document.labels.values():
                if len(label) != len(tokens):
                    raise CorpusError(
                        f"the tokenizer makes {len(tokens)} tokens of a document of {len(label)} planted words; "
                        "text of kind 'rules' needs the tokenizer of a family grown on the same rules."
                    )
            yield TokenDocument(tokens, document.masks, document.labels)


def _chat_document(document: Document, source: TextSourceConfig, tokenizer: Any) -> TokenDocument:
    if not document.messages:
        return TokenDocument(np.empty(0, dtype=np.int32))  # an empty conversation is an empty document: it is skipped
    chat = tokenize_chat(document.messages, tokenizer, source.template, source.control_template)
    whole = TokenDocument(chat.tokens, chat.masks)
    begins = len(whole) > 0 and tokenizer.bos_token_id is not None and whole.tokens[0] == tokenizer.bos_token_id
    return whole.cut(1) if begins else whole
