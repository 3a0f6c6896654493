"""The house style: colours that colour-blind readers tell apart, sequential ones for steps of training, numbers."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

# Okabe & Ito 2008, "Color Universal Design", without yellow and black, which vanish on light or dark pages.
CATEGORICAL = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8a8a")
# The middle of matplotlib's viridis: even steps of lightness, dark (early) to light (late), both seen on white.
SEQUENTIAL = ("#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151")
# Blue to white to orange, for numbers with a sign.
DIVERGING = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2560d")


def pick_colours(count: int, ordered: bool) -> list[str]:
    """Colours of `count` curves: categorical ones in turn, or evenly along the sequential ones."""
    if not ordered:
        return [CATEGORICAL[index % len(CATEGORICAL)] for index in range(count)]
    return [blend(SEQUENTIAL, index / max(count - 1, 1)) for index in range(count)]


def blend(anchors: Sequence[str], place: float) -> str:
    """The colour at a place in [0, 1] along anchors, linear in sRGB between two of them."""
    at = min(max(place, 0.0), 1.0) * (len(anchors) - 1)
    left = min(int(at), len(anchors) - 2)
    pair = [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in anchors[left : left + 2]]
    return "#" + "".join(f"{round(a + (b - a) * (at - left)):02x}" for a, b in zip(*pair))


def format_value(value: Any, error: Any = None) -> str:
    """Four digits of a number, with its standard error as `a ± b`; nothing for what is missing; lists in brackets."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return escape_controls("".join(value) if isinstance(value, list) else ", ".join(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_value(each) for each in value) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        text = str(value)
    elif isinstance(value, float):
        text = f"{value:.4g}"
    else:
        return escape_controls(str(value))
    known = isinstance(error, int | float) and not math.isnan(error)
    return f"{text} ± {error:.2g}" if known else text


def escape_controls(text: str) -> str:
    """Model text on one line and harmless: line breaks as ⏎, tabs as ⇥, other controls (NUL, right-to-left marks,
    lone halves of characters) by their numbers; nothing is left out."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\n\t\r":
        return {"\n": "⏎", "\t": "⇥", "\r": "␍"}[character]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return f"⟨U+{ord(character):04X}⟩"
    return character


def round_number(value: Any, digits: int = 4) -> Any:
    """A number to some significant digits, for JSON: None where it is none or not finite, other values as they are."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
