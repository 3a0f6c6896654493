"""What the language model is asked, and how its replies are read."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ontogeny.analyses.explanations.client import Messages

RUBRIC = """\
5: one theme or idea that ties together many different words and phrases
4: a role in the structure or meaning of sentences that words of many kinds can play
3: a phrase, or a category of words
2: one word in its forms: inflected, capitalised, misspelt or in other languages
1: one token, always the same"""

_ANSWER = "Reply with one JSON object and nothing else:"

_EXPLAIN = f"""\
You study one unit of a sparse dictionary learned from a language model's activations. You are shown texts in which the
unit is on; the tokens on which it is on stand between ⟦ and ⟧. Say in at most 25 words what the unit responds to: the
marked tokens, or what in the text before them makes them marked. Prefer the most specific statement that fits all
texts. Then rate the complexity of what it responds to:
{RUBRIC}
{_ANSWER} {{"explanation": "...", "complexity": 1-5}}"""

_DETECT = f"""\
You are told what a unit of a sparse dictionary responds to, and shown numbered texts. Say in which of them it is on. It
may be any number of them. {_ANSWER} {{"on": [numbers]}}"""

_FUZZ = f"""\
You are told what a unit of a sparse dictionary responds to, and shown numbered texts in which tokens are marked with ⟦
and ⟧. In some of them the marks stand where the unit is on, in the others they were put elsewhere. Say in which texts
the marks are right. {_ANSWER} {{"on": [numbers]}}"""


@dataclass(frozen=True)
class Explanation:
    """What the model takes the latent for, and its complexity from 1 to 5 (None where it gave none)."""

    text: str
    complexity: int | None


def ask_explanation(marked: Sequence[str]) -> Messages:
    """Explain the latent that is on where these texts are marked, and rate its complexity."""
    return _messages(_EXPLAIN, _number(marked))


def ask_detection(explanation: str, texts: Sequence[str]) -> Messages:
    """Say in which of the texts the latent is on."""
    return _messages(_DETECT, f"The unit responds to: {explanation}\n\n{_number(texts)}")


def ask_fuzzing(explanation: str, marked: Sequence[str]) -> Messages:
    """Say in which of the texts the marks are right."""
    return _messages(_FUZZ, f"The unit responds to: {explanation}\n\n{_number(marked)}")


def read_explanation(reply: str) -> Explanation | None:
    """The explanation in a reply; None where there is none."""
    found = _find_object(reply)
    text = None if found is None else found.get("explanation")
    if found is None or not isinstance(text, str) or not text.strip():
        return None
    rated: Any = found.get("complexity")
    return Explanation(" ".join(text.split()), round(rated) if _is_number(rated) and 1 <= rated <= 5 else None)


def read_numbers(reply: str, count: int) -> set[int] | None:
    """The numbers (from 1) that a reply names; None where it is no such list or names what was not asked."""
    found = _find_object(reply)
    numbers = None if found is None else found.get("on")
    if not isinstance(numbers, list) or not all(_is_number(each) and 1 <= each <= count for each in numbers):
        return None
    return set(numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def count_tokens(messages: Messages) -> int:
    """A rough number of tokens: four characters each."""
    return sum(len(message["content"]) for message in messages) // 4 + 1


def _messages(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _number(texts: Sequence[str]) -> str:
    """Texts as a numbered list, each on one line: a text's own line breaks must not look like the list's."""
    return "\n".join(f"{number}. {json.dumps(text, ensure_ascii=False)}" for number, text in enumerate(texts, 1))


def _find_object(reply: str) -> dict[str, Any] | None:
    """The last JSON object in a reply, whatever stands round it: models think aloud and put fences round JSON."""
    decoder = json.JSONDecoder()
    found = None
    end = 0
    for match in re.finditer(r"\{", reply):
        if match.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(reply, match.start())
        except (ValueError, RecursionError):
            continue
        found = value
    return found if isinstance(found, dict) else None
