"""Conversations through a chat template: their tokens, and which of them are whose."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ontogeny.errors import CorpusError
from ontogeny.tokens.config import ROLES
from ontogeny.tokens.text_sources import Message

# Stands for a message while the template around it is found. Templates trim and search content, but keep plain words.
SENTINEL = "ontogenysentinel"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class ChatTokens:
    """A conversation's tokens and, per mask name (`control` and the roles), which of them it holds."""

    tokens: np.ndarray
    masks: dict[str, np.ndarray]


def tokenize_chat(
    messages: Sequence[Message], tokenizer: Any, template: str | None = None, control_template: str | None = None
) -> ChatTokens:
    """Render a conversation and say of every token whether it is content of a role or the template's own (control).

    The masks part the tokens: each is `control` or of exactly one role. Where they come from:
    * content of a message: the span of the rendering that changes with the message (found with a sentinel), so that
      any template works and text that looks like a header stays content;
    * `assistant`: the template's `{% generation %}` spans instead, where it has them;
    * `control`: the `{% generation %}` spans of `control_template`, where it is given, else what is no content.

    Shapes: tokens int32 [position]; masks bool [position].
    Errors: CorpusError if there is no template, if it refuses the conversation, or if its text hides a message.
    Source: the control-token templates of science-of-finetuning/sparsity-artifacts-crosscoders.
    """
    template = template or tokenizer.chat_template
    if template is None:
        raise CorpusError("this tokenizer has no chat template; give the source one as 'template'.")
    if not tokenizer.is_fast:
        raise CorpusError("masks of a conversation need a fast tokenizer (tokenizer.json); this one has none.")
    text = _render(messages, tokenizer, template)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    masks = {role: np.zeros(len(offsets), dtype=bool) for role in ROLES}
    for number, message in enumerate(messages):
        start, end = _content_span(messages, number, text, tokenizer, template)
        masks[_role(message["role"])] |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    if _GENERATION.search(template):
        generated = _generation_mask(messages, tokenizer, template, len(offsets))
        for mask in masks.values():
            mask &= ~generated
        masks["assistant"] = generated
    if control_template is not None:
        control = _generation_mask(messages, tokenizer, control_template, len(offsets))
        for mask in masks.values():
            mask &= ~control
    else:
        control = ~np.any(list(masks.values()), axis=0)
    return ChatTokens(np.asarray(encoding["input_ids"], dtype=np.int32), {"control": control, **masks})


def tokenize_user_turn(prompt: str, tokenizer: Any, template: str | None = None) -> list[int]:
    """The ids of a conversation of one user's turn, up to where the answer begins.

    Errors: CorpusError if there is no template, or if it refuses the conversation.
    """
    template = template or tokenizer.chat_template
    if template is None:
        raise CorpusError(
            "this tokenizer has no chat template, so that a prompt can be no user's turn: give it as plain text "
            "(without chat), or steer a dictionary whose series.tokenizer has one."
        )
    text = _render([{"role": "user", "content": prompt}], tokenizer, template, answers=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def find_turn_end(tokenizer: Any, template: str | None = None) -> int | None:
    """The special token that the template puts right behind an answer; None where there is none."""
    template = template or tokenizer.chat_template
    talk = [{"role": "user", "content": SENTINEL[:8]}, {"role": "assistant", "content": SENTINEL}]
    behind = _render(talk, tokenizer, template).partition(SENTINEL)[2]
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def _role(role: str) -> str:
    if role in ROLES:
        return role
    raise CorpusError(f"a message has the role {role!r}; the roles are {', '.join(ROLES)}.")


def _render(messages: Sequence[Message], tokenizer: Any, template: str, answers: bool = False) -> str:
    import jinja2

    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), chat_template=template, tokenize=False, add_generation_prompt=answers
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:  # the last two: its own expressions'
        roles = ", ".join(message["role"] for message in messages)
        raise CorpusError(f"the chat template refuses a conversation with the roles {roles}: {error}.") from error
    return text


def _content_span(
    messages: Sequence[Message], number: int, text: str, tokenizer: Any, template: str
) -> tuple[int, int]:
    """Characters of `text` that message `number` put there: what is left when the template around it is taken off."""
    if not messages[number]["content"].strip():
        return 0, 0
    marked = [{**message, "content": SENTINEL} if i == number else message for i, message in enumerate(messages)]
    before, found, after = _render(marked, tokenizer, template).partition(SENTINEL)
    if not found or not text.startswith(before) or not text.endswith(after) or len(before) + len(after) > len(text):
        raise CorpusError(
            f"the chat template does not show message {number} ({messages[number]['role']}) as it stands, so its "
            "tokens cannot be told apart; give the source a 'template' that does."
        )
    return len(before), len(text) - len(after)


def _generation_mask(messages: Sequence[Message], tokenizer: Any, template: str, n_tokens: int) -> np.ndarray:
    output = tokenizer.apply_chat_template(
        list(messages),
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    mask = np.asarray(output["assistant_masks"], dtype=bool)
    if len(mask) != n_tokens:
        raise CorpusError(
            f"'control_template' renders {len(mask)} tokens where the chat template renders {n_tokens}; both must give "
            "the same text."
        )
    return mask
