from typing import Any

import numpy as np
import pytest

from ontogeny.errors import CorpusError
from ontogeny.tokens.chat import find_turn_end, tokenize_chat, tokenize_user_turn
from ontogeny.tokens.vocabulary import train_tokenizer

CHATML = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}"
GENERATION = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>"
    "{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
)
CONTROL = (
    "{% for m in messages %}{% generation %}<|{{ m.role }}|>{% endgeneration %}{{ m.content | trim }}"
    "{% generation %}<|end|>\n{% endgeneration %}{% endfor %}"
)
# The second message says what the template says, the third one says "user".
TALK = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "<|end|>"},
    {"role": "assistant", "content": " user"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["abc"], vocab_size=257)  # one token a byte


def text_of(tokenizer: Any, tokens: np.ndarray, mask: np.ndarray) -> str:
    return tokenizer.decode(tokens[mask])


def test_roles_and_control_part_the_tokens(tokenizer: Any) -> None:
    chat = tokenize_chat(TALK, tokenizer, CHATML)
    assert (
        tokenizer.decode(chat.tokens) == "<|system|>be kind<|end|>\n<|user|><|end|><|end|>\n<|assistant|>user<|end|>\n"
    )
    texts = {name: text_of(tokenizer, chat.tokens, mask) for name, mask in chat.masks.items()}
    assert texts == {
        "system": "be kind",
        "user": "<|end|>",
        "assistant": "user",
        "tool": "",
        "control": "<|system|><|end|>\n<|user|><|end|>\n<|assistant|><|end|>\n",
    }
    assert (np.sum(list(chat.masks.values()), axis=0) == 1).all()


@pytest.mark.parametrize("template", [GENERATION, GENERATION.replace("{% generation %}", "{%generation%}")])
def test_generation_spans_are_the_assistant(tokenizer: Any, template: str) -> None:
    chat = tokenize_chat(TALK, tokenizer, template)
    assert text_of(tokenizer, chat.tokens, chat.masks["assistant"]) == " user<|end|>"
    assert (np.sum(list(chat.masks.values()), axis=0) == 1).all()


def test_a_control_template_marks_control_tokens(tokenizer: Any) -> None:
    derived = tokenize_chat(TALK, tokenizer, CHATML)
    marked = tokenize_chat(TALK, tokenizer, CHATML, control_template=CONTROL)
    for name, mask in derived.masks.items():
        np.testing.assert_array_equal(marked.masks[name], mask)
    with pytest.raises(CorpusError, match="same text"):
        tokenize_chat(TALK, tokenizer, CHATML, control_template=GENERATION)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "message 0 (system)"),
    ],
)
def test_what_a_template_cannot_do_is_said(tokenizer: Any, template: str | None, named: str) -> None:
    with pytest.raises(CorpusError) as caught:
        tokenize_chat(TALK, tokenizer, template)
    assert named in str(caught.value)


def test_an_unknown_role_is_named(tokenizer: Any) -> None:
    with pytest.raises(CorpusError, match="'narrator'"):
        tokenize_chat([{"role": "narrator", "content": "x"}], tokenizer, CHATML)


def test_a_user_turn_ends_where_the_answer_begins(tokenizer: Any) -> None:
    template = CHATML + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ids = tokenize_user_turn("Who is <|end|>?", tokenizer, template)
    assert tokenizer.decode(ids) == "<|user|>Who is <|end|>?<|end|>\n<|assistant|>"
    with pytest.raises(CorpusError, match="no chat template"):
        tokenize_user_turn("Who?", tokenizer)


def test_an_answer_ends_at_a_special_token_or_at_none() -> None:
    tokenizer = train_tokenizer(["abc"], vocab_size=257)
    assert find_turn_end(tokenizer, CHATML) is None
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    assert find_turn_end(tokenizer, CHATML) == tokenizer.convert_tokens_to_ids("<|end|>")
    assert find_turn_end(tokenizer, "{% for m in messages %}{{ m.content }}{% endfor %}") is None
